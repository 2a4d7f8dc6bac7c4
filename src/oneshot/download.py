"""Gets a data set from wherever its files may be had: the internet, a mirror, a local archive, a package.

Nothing from outside is unpickled before its md5 matches, and only verified files ever get their final name.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import lzma
import os
import posixpath
import shutil
import struct
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from oneshot.dataset import Dataset
from oneshot.errors import UserError
from oneshot.files import md5

SOURCE = "ONESHOT_DATA_SOURCE"  # environment variable: where to get the files instead of the original address
TIMEOUT = 30  # seconds that a server may stay silent
SIZE_LIMIT = 2**30  # bytes of a download and of what it unpacks to: above it, it is no data set of ours
CHUNK = 2**16  # bytes; small, since a hostile archive makes a thousand times as much of them
XZ_MEMORY = 2**29  # bytes that unpacking may claim; `xz -9` needs 2**26
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEST_DIGITS = 50  # test images of each digit


@dataclass(frozen=True)
class Archive:
    """A tar archive with the known files of one data set.

    Args:
        url: its original address.
        md5: of the archive at that address.
        folder: the folder in it that holds the files.
        files: name of each file and its md5.
    """

    url: str
    md5: str
    folder: str
    files: dict[str, str]


def fetch_dataset(name: str, raw: str | Path, source: str | None = None) -> Dataset:
    """The data set `name`, one of `DATASETS`.

    Args:
        raw: folder where downloaded files are kept, so that another call downloads nothing.
        source: a local archive or folder, or a mirror's URL; None: the original address.

    Raises:
        UserError: the files cannot be had, or are not what they should be.
    """
    return DATASETS[name](Path(raw), source or None)


def digits(raw: Path, source: str | None) -> Dataset:
    """scikit-learn's handwritten digits, 8x8; the last 50 of each class, by other writers, are the test images."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = np.round(found.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]  # levels 0..16
    labels = found.target.astype(np.int64)
    test = np.sort(np.concatenate([np.flatnonzero(labels == c)[-TEST_DIGITS:] for c in range(10)]))
    train = np.setdiff1d(np.arange(len(labels)), test)
    return Dataset(images[train], labels[train], images[test], labels[test], DIGITS)


def cifar100(raw: Path, source: str | None) -> Dataset:
    """CIFAR-100 with its 100 fine labels, in its own order."""
    from torchvision.datasets import CIFAR100  # takes seconds to import

    meta = (CIFAR100.meta["filename"], CIFAR100.meta["md5"])
    files = dict([*CIFAR100.train_list, *CIFAR100.test_list, meta])
    archive = Archive(CIFAR100.url, CIFAR100.tgz_md5, CIFAR100.base_folder, files)

    class Unpacked(CIFAR100):
        base_folder = ""  # the files lie in `root` itself, whatever its name

    folder = obtain(archive, raw, source)
    train, test = (Unpacked(folder, train=part) for part in (True, False))
    return Dataset(
        np.ascontiguousarray(train.data),
        np.array(train.targets, dtype=np.int64),
        np.ascontiguousarray(test.data),
        np.array(test.targets, dtype=np.int64),
        train.classes,
    )


def mnist(raw: Path, source: str | None) -> Dataset:
    """MNIST's handwritten digits, 28x28."""
    from torchvision.datasets import MNIST

    folder = obtain_files(MNIST.mirrors, dict(MNIST.resources), raw / "mnist", source)
    arrays = []
    for name in dict(MNIST.resources):  # images and labels to train on, then those to test on
        content = b"".join(_decompressed(folder / name))
        dimensions = content[3]
        shape = struct.unpack_from(f">{dimensions}I", content, 4)
        arrays.append(np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape))
    train_images, train_labels, test_images, test_labels = arrays
    return Dataset(
        train_images[..., np.newaxis],
        train_labels.astype(np.int64),
        test_images[..., np.newaxis],
        test_labels.astype(np.int64),
        DIGITS,
    )


# Another data set is one more function above and one more line here.
DATASETS: dict[str, Callable[[Path, str | None], Dataset]] = {
    "digits": digits,
    "cifar100": cifar100,
    "mnist": mnist,
}


def obtain(archive: Archive, raw: Path, source: str | None) -> Path:
    """A folder that holds `archive.files`, all verified by md5.

    Files from an earlier call lie in `raw` and are used again if still right. A user's own files are only read.

    Raises:
        UserError: naming the source, what is wrong with it, and what to do.
    """
    kept = raw / archive.folder
    if not _mistake(kept, archive.files):
        return kept
    url = archive.url if source is None else source
    remote = url.lower().startswith(("http://", "https://"))
    local = Path(url).expanduser()
    if not remote and local.is_dir():
        folder = local / archive.folder if (local / archive.folder).is_dir() else local
        if mistake := _mistake(folder, archive.files):
            raise _refusal(folder, mistake)
        return folder
    if not remote and not local.is_file():
        raise _refusal(url, "no such file or folder")
    with _workspace(raw) as work:
        if remote:
            local = work / "archive"
            _download(url, local)
            if url == archive.url and (found := md5(local)) != archive.md5:
                raise _refusal(_shown(url), f"the archive has md5 {found}, expected {archive.md5}")
        shown = _shown(url) if remote else local
        _unpack(local, work, archive, shown)
        if mistake := _mistake(work / archive.folder, archive.files):
            raise _refusal(shown, mistake)
        _keep(work / archive.folder, kept)
    return kept


def obtain_files(mirrors: list[str], files: dict[str, str], kept: Path, source: str | None) -> Path:
    """A folder that holds `files` (name -> md5), all verified: `kept`, downloaded to from the first mirror that has
    them, or a local folder that `source` names, which is only read.

    Raises:
        UserError: naming the source, what is wrong with it, and what to do.
    """
    if not _mistake(kept, files):
        return kept
    if source is not None and not source.lower().startswith(("http://", "https://")):
        local = Path(source).expanduser()
        folder = next(
            (path for path in (local, local / "MNIST/raw", local / "raw") if (path / min(files)).exists()), local
        )
        if mistake := _mistake(folder, files):
            raise _refusal(folder, mistake)
        return folder
    with _workspace(kept.parent) as work:
        (work / kept.name).mkdir()
        for name in files:
            _download_from([source] if source else mirrors, name, files[name], work / kept.name / name)
        _keep(work / kept.name, kept)
    return kept


def _keep(verified: Path, kept: Path) -> None:
    """Give verified files their final place."""
    if kept.exists():
        shutil.rmtree(kept)  # what an earlier call left is wrong by now
    os.replace(verified, kept)


def _download_from(mirrors: list[str], name: str, expected: str, target: Path) -> None:
    """Download a file from the first of several addresses that serves it with the right md5."""
    for place, mirror in enumerate(mirrors, start=1):
        url = f"{mirror.rstrip('/')}/{name}"
        try:
            _download(url, target)
            if (found := md5(target)) != expected:
                raise _refusal(_shown(url), f"the file has md5 {found}, expected {expected}")
            return
        except UserError:
            if place == len(mirrors):
                raise


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
def _workspace(raw: Path) -> Iterator[Path]:
    """A folder in `raw` for unfinished files, gone afterwards whatever happens."""
    try:
        raw.mkdir(parents=True, exist_ok=True)
        for left_behind in raw.glob(".unfinished-*"):  # by a killed run
            shutil.rmtree(left_behind, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=raw, prefix=".unfinished-") as work:
            yield Path(work)
    except OSError as error:
        where, reason = error.filename or raw, error.strerror or error
        raise UserError(f"{where}: {reason}; free space or mend the permissions, then run again") from None


def _download(url: str, target: Path) -> None:
    with open(target, "wb") as file:
        for chunk in _received(url):
            file.write(chunk)
            if file.tell() > SIZE_LIMIT:
                raise _refusal(_shown(url), f"serves more than {SIZE_LIMIT} bytes, which is not the data set")


def _received(url: str) -> Iterator[bytes]:
    """The content at `url`, piece by piece. A generator, so that errors of the disk do not look like the network's."""
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "oneshot"})
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


def _unpack(path: Path, target: Path, archive: Archive, shown: object) -> None:
    """Unpack the known files of the tar archive at `path` into `target`; all its other files stay unread."""
    chunks = _decompressed(path)
    try:
        with tarfile.open(fileobj=_Stream(chunks), mode="r|") as tar:
            for member in tar:
                folder, _, name = posixpath.normpath(member.name).partition("/")
                plain = member.isdir() or (member.isfile() and not member.issparse())
                if folder not in (archive.folder, ".") or not plain:
                    raise _refusal(shown, f"holds {member.name!r}, which does not belong there")
                if member.isfile() and name in archive.files:
                    tar.extract(member, target, filter="data")
                    with open(target / archive.folder / name, "rb") as file:
                        os.fsync(file.fileno())
        for _ in chunks:  # to the end: a damaged or extended archive shows there
            pass
    except EOFError:
        raise _refusal(shown, "the archive is truncated") from None
    except (tarfile.TarError, lzma.LZMAError, zlib.error, ValueError, ArithmeticError, struct.error) as error:
        raise _refusal(shown, f"not a whole tar.gz or tar.xz archive ({error})") from None


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
