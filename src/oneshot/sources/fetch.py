"""Gets files of known md5 from wherever they may be had: the internet, a mirror, a local archive or folder.

Nothing from outside is used before its md5 matches, and only verified files ever get their final name.
"""

from __future__ import annotations

import base64
import http.client
import lzma
import os
import posixpath
import re
import tarfile
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from oneshot.common.errors import UserError
from oneshot.common.files import md5, unfinished
from oneshot.common.lock import only_one

SOURCE = "ONESHOT_DATA_SOURCE"  # environment variable: where to get the files instead of the original address
TIMEOUT = 30  # seconds that a server may stay silent
SIZE_LIMIT = 2**30  # bytes of a download and of what it unpacks to: above it, it is no data set of ours


@dataclass(frozen=True)
class Published:
    """The files of a data set, and where they are published."""

    folder: str  # that holds them, in an archive and where they are kept
    files: dict[str, str]  # name of each and its md5
    urls: list[str]  # of the tar archive; without one, of folders that hold the files, the first choice first
    archive_md5: str | None = None  # None: there is no archive
    inside: tuple[str, ...] = ()  # other folders in which they may lie within a local folder


def obtain(published: Published, raw: Path, source: str | None) -> Path:
    """A folder that holds the published files, all verified by md5.

    Files from an earlier call lie in `raw` and are used again if still right. A user's own files are only read.

    The source is a local archive or folder, or a mirror's URL; None: the original address. A UserError names it, what
    is wrong with it, and what to do; an OSError is the disk's.
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
    with only_one(raw / f".{published.folder}.lock", waits=True):
        if not _mistake(kept, published.files):  # another process has got them meanwhile
            return kept
        with unfinished(kept) as work:
            work.mkdir()
            urls = [source] if source else published.urls
            if not remote:
                _unpack(local, work, published, local)
            elif published.archive_md5:
                archive = work / "archive"
                shown = _download(urls, None if source else published.archive_md5, archive)
                _unpack(archive, work, published, shown)
                archive.unlink()
            else:
                for name, expected in published.files.items():
                    _download([f"{url.rstrip('/')}/{name}" for url in urls], expected, work / name)
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


def _download(urls: list[str], expected: str | None, target: Path) -> str:
    """Download a file, of md5 `expected` if that is known; returns which of `urls` served it, as messages show it."""
    for place, url in enumerate(urls, start=1):
        try:
            with open(target, "wb") as file:
                for chunk in _received(url):
                    file.write(chunk)
                    if file.tell() > SIZE_LIMIT:
                        raise _refusal(_shown(url), f"serves more than {SIZE_LIMIT} bytes, which is not the data set")
            if expected and (found := md5(target)) != expected:
                raise _refusal(_shown(url), f"the file has md5 {found}, expected {expected}")
            break
        except UserError:
            if place == len(urls):
                raise
    return _shown(url)


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
            total = response.length  # None where the server does not tell
            # Where nobody watches (a log file), there is no bar.
            with tqdm(desc="download", total=total, unit="B", unit_scale=True, disable=None) as bar:
                while chunk := response.read(2**16):
                    bar.update(len(chunk))
                    yield chunk
            if response.length:
                raise _refusal(_shown(url), f"the connection ended {response.length} bytes before the end")
    except urllib.error.HTTPError as error:
        raise _refusal(_shown(url), f"the server answers {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _refusal(_shown(url), f"cannot be read ({getattr(error, 'reason', None) or error!r})") from None


def _shown(url: str) -> str:
    """`url` without what may be secret: user, password, query."""
    return re.sub(r"(?<=://)[^/]*@|[?#].*", "", url)


def _unpack(path: Path, folder: Path, published: Published, shown: object) -> None:
    """Unpack and verify the published files of a tar archive; all else in it stays there."""
    left = SIZE_LIMIT
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                left -= member.size
                if not 0 <= left <= SIZE_LIMIT:
                    raise ValueError(f"it unpacks to more than {SIZE_LIMIT} bytes")
                place, _, name = posixpath.normpath(member.name).partition("/")
                if member.isfile() and place == published.folder and name in published.files:
                    tar.extract(member.replace(name=name), folder, filter="data")
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error, ValueError, ArithmeticError) as error:
        if getattr(error, "errno", None):  # the disk's, not the archive's
            raise
        raise _refusal(shown, f"not a whole tar.gz or tar.xz archive ({str(error).partition(':')[0]})") from None
    if mistake := _mistake(folder, published.files):
        raise _refusal(shown, mistake)
