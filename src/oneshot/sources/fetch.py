"""Gets files of known md5 from wherever they may be had: the internet, a mirror, a local archive or folder.

Nothing from outside is used before its md5 matches, and only verified files ever get their final name.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import lzma
import os
import posixpath
import shutil
import struct
import tarfile
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from oneshot.common.errors import UserError
from oneshot.common.files import md5
from oneshot.common.lock import only_one

SOURCE = "ONESHOT_DATA_SOURCE"  # environment variable: where to get the files instead of the original address
TIMEOUT = 30  # seconds that a server may stay silent
SIZE_LIMIT = 2**30  # bytes of a download and of what it unpacks to: above it, it is no data set of ours
CHUNK = 2**16  # bytes; small, since a hostile archive makes a thousand times as much of them
XZ_MEMORY = 2**29  # bytes that unpacking may claim; `xz -9` needs 2**26


@dataclass(frozen=True)
class Published:
    """The files of a data set, and where they are published.

    Args:
        folder: that holds them, in an archive and where they are kept.
        files: name of each and its md5.
        urls: of the tar archive; without one, of folders that hold the files, the first choice first.
        archive_md5: of the archive; None: there is none.
        inside: other folders in which they may lie within a local folder.
    """

    folder: str
    files: dict[str, str]
    urls: list[str]
    archive_md5: str | None = None
    inside: tuple[str, ...] = ()


def obtain(published: Published, raw: Path, source: str | None) -> Path:
    """A folder that holds the published files, all verified by md5.

    Files from an earlier call lie in `raw` and are used again if still right. A user's own files are only read.

    Args:
        source: a local archive or folder, or a mirror's URL; None: the original address.

    Raises:
        UserError: naming the source, what is wrong with it, and what to do.
    """
    kept = raw / published.folder
    if not _mistake(kept, published.files):
        return kept
    remote = source is None or source.lower().startswith(("http://", "https://"))
    local = Path(os.path.expanduser(source or ""))
    if not remote and os.path.isdir(local):  # which, unlike Path's, takes any text
        places = [local / name for name in (published.folder, *published.inside)]
        folder = next((place for place in places if any((place / name).is_file() for name in published.files)), local)
        if mistake := _mistake(folder, published.files):
            raise _refusal(folder, mistake)
        return folder
    if not remote and not os.path.isfile(local):
        raise _refusal(source, "no such file or folder")
    with _workspace(raw, published.folder) as work:
        if not _mistake(kept, published.files):  # another process has got them meanwhile
            return kept
        urls, unfinished = [source] if source else published.urls, work / published.folder
        if not remote:
            _unpack(local, work, published, local)
        elif published.archive_md5:
            shown = _download_first(urls, None if source else published.archive_md5, work / "archive")
            _unpack(work / "archive", work, published, shown)
        else:
            unfinished.mkdir()
            for name, expected in published.files.items():
                _download_first([f"{url.rstrip('/')}/{name}" for url in urls], expected, unfinished / name)
        if kept.exists():
            shutil.rmtree(kept)  # what an earlier call left is wrong by now
        os.replace(unfinished, kept)
    return kept


def _mistake(folder: Path, files: dict[str, str]) -> str | None:
    """What is wrong with the files in `folder`, in words; None if all is right."""
    for name, expected in files.items():
        try:
            found = md5(folder / name)
        except OSError as error:
            return f"{name}: {error.strerror}, expected a file of md5 {expected}"
        if found != expected:
            return f"{name} has md5 {found}, expected {expected}"
    return None


def _refusal(what: object, why: str) -> UserError:
    todo = (
        f"set the environment variable {SOURCE} to a local archive (tar.gz or tar.xz), an unpacked folder, or the "
        "http(s) address of a mirror, then run again"
    )
    return UserError(" ".join(f"{what}: {why}; {todo}".split()))


@contextlib.contextmanager
def _workspace(raw: Path, name: str) -> Iterator[Path]:
    """A folder in `raw` for the unfinished files of one process at a time, gone afterwards whatever happens."""
    work = raw / f".unfinished-{name}"
    try:
        with only_one(raw / f".{name}.lock", waits=True):
            shutil.rmtree(work, ignore_errors=True)  # a killed run's
            work.mkdir()
            try:
                yield work
            finally:
                shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        where, reason = error.filename or raw, error.strerror or error
        raise UserError(f"{where}: {reason}; free space or mend the permissions, then run again") from None


def _download_first(urls: list[str], expected: str | None, target: Path) -> str:
    """Download a file from the first of several addresses that serves it.

    Args:
        expected: the file's md5; None: any.

    Returns:
        That address, as messages show it.

    Raises:
        UserError: why the last address does not serve it.
    """
    for place, url in enumerate(urls, start=1):
        try:
            _download(url, target)
            if expected and (found := md5(target)) != expected:
                raise _refusal(_shown(url), f"the file has md5 {found}, expected {expected}")
            break
        except UserError:
            if place == len(urls):
                raise
    return _shown(url)


def _download(url: str, target: Path) -> None:
    with open(target, "wb") as file:
        for chunk in _received(url):
            file.write(chunk)
            if file.tell() > SIZE_LIMIT:
                raise _refusal(_shown(url), f"serves more than {SIZE_LIMIT} bytes, which is not the data set")


def _received(url: str) -> Iterator[bytes]:
    """The content at `url`, piece by piece. A generator, so that errors of the disk do not look like the network's."""
    try:
        parts = urllib.parse.urlsplit(url)
        login, _, host = parts.netloc.rpartition("@")
        request = urllib.request.Request(parts._replace(netloc=host).geturl(), headers={"User-Agent": "oneshot"})
        if login:  # unredirected: no other host gets it
            code = base64.b64encode(urllib.parse.unquote(login).encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {code}")
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            length = response.headers.get("Content-Length", "")
            total, received = int(length) if length.isdecimal() else None, 0
            with _progress("download", total) as bar:
                while chunk := response.read(CHUNK):
                    received += len(chunk)
                    bar.update(len(chunk))
                    yield chunk
            if total is not None and received != total:
                raise _refusal(_shown(url), f"the connection ended after {received} of {total} bytes")
    except urllib.error.HTTPError as error:
        raise _refusal(_shown(url), f"the server answers {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _refusal(_shown(url), f"cannot be read ({getattr(error, 'reason', None) or error!r})") from None


def _unpack(path: Path, target: Path, published: Published, shown: object) -> None:
    """Unpack and verify the published files of the tar archive at `path`; all its other files stay unread."""
    chunks = _decompressed(path)
    try:
        with tarfile.open(fileobj=_Stream(chunks), mode="r|") as tar:
            for member in tar:
                folder, _, name = posixpath.normpath(member.name).partition("/")
                plain = member.isdir() or (member.isfile() and not member.issparse())
                if folder not in (published.folder, ".") or not plain:
                    raise _refusal(shown, f"holds {member.name!r}, which does not belong there")
                if member.isfile() and name in published.files:
                    tar.extract(member, target, filter="data")
                    with open(target / published.folder / name, "rb") as file:
                        os.fsync(file.fileno())
        for _ in chunks:  # to the end: a damaged or extended archive shows there
            pass
    except EOFError:
        raise _refusal(shown, "the archive is truncated") from None
    except (tarfile.TarError, lzma.LZMAError, zlib.error, ValueError, ArithmeticError, struct.error) as error:
        raise _refusal(shown, f"not a whole tar.gz or tar.xz archive ({error})") from None
    if mistake := _mistake(target / published.folder, published.files):
        raise _refusal(shown, mistake)


def _decompressed(path: Path) -> Iterator[bytes]:
    """The content of a .gz or .xz file, whatever its name.

    Raises:
        EOFError: it is truncated.
        ValueError, LZMAError, zlib.error: it is something else, or damaged, or something follows it.
    """
    decoders: dict[bytes, Callable[[], Any]] = {
        b"\x1f\x8b": lambda: zlib.decompressobj(wbits=31),
        b"\xfd7": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY),
    }
    with open(path, "rb") as file, _progress("unpack", os.path.getsize(path)) as bar:
        start = decoders.get(file.read(2))
        if start is None:
            raise ValueError("it begins with neither's signature")
        file.seek(0)
        decoder, total = start(), 0
        while chunk := file.read(CHUNK):
            bar.update(len(chunk))
            while chunk:
                if decoder.eof:
                    decoder = start()  # more follows: another stream of the same kind, or rubbish and an error
                content = decoder.decompress(chunk)
                chunk = decoder.unused_data
                total += len(content)
                if total > SIZE_LIMIT:
                    raise ValueError(f"it unpacks to more than {SIZE_LIMIT} bytes")
                yield content
        if not decoder.eof:
            raise EOFError


class _Stream(io.RawIOBase):
    """Pieces of bytes as a file that can be read once."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.chunks = chunks
        self.rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.rest:
            try:
                self.rest = memoryview(next(self.chunks))
            except StopIteration:
                return 0
        count = min(len(buffer), len(self.rest))
        buffer[:count] = self.rest[:count]
        self.rest = self.rest[count:]
        return count


def _progress(what: str, total: int | None) -> tqdm:
    """A bar with the time left; where nobody watches (a log file), none."""
    return tqdm(desc=what, total=total, unit="B", unit_scale=True, unit_divisor=1024, disable=None)


def _shown(url: str) -> str:
    """`url` without what may be secret: user, password, query."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("?")[0].partition("#")[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
