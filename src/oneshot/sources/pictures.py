"""Pictures from files or memory: common formats, any size, upright, decoded under limits of pixels, memory and time."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import Field

from oneshot.common.errors import UserError, printable
from oneshot.common.files import check_file
from oneshot.common.params import Int
from oneshot.common.schema import shown

Picture = str | Path | Image.Image | np.ndarray  # a path, or what is in memory: uint8 (H, W[, 3 or 4])
Side = Annotated[Int, Field(ge=8, le=512)]  # of the square that is read from a picture, in pixels

# Told by content. None of their readers starts another program or unpacks into more than the header says.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
OTHERS = {b"%!PS": "PostScript", b"\xc5\xd0\xd3\xc6": "PostScript", b"%PDF": "PDF", b"ftyp": "HEIC or a film",
          b"8BPS": "PSD", b"#?RADIANCE": "HDR", b"v/1\x01": "OpenEXR", b"<svg": "SVG", b"<?xml": "XML",
          b"jP  ": "JPEG 2000"}  # fmt: skip
SUFFIXES = {suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS} - {".pfm"}
MOST_BYTES = 2**26  # of a file
MOST_PIXELS = 2**26  # of a picture: a gigabyte, by the hungriest reader
LARGE = 2**24  # pixels above which pictures are decoded one at a time
MOST_SECONDS = 30  # that a file is read for; what is read at last takes seconds more
THREADS = min(8, os.cpu_count() or 1)
Image.core.set_block_size(2**26)  # the C library keeps freed blocks of 16 MiB, as they come, for each thread
warnings.filterwarnings("ignore", module=r"PIL\.")  # odd metadata in a picture does not matter
_large = threading.Lock()


def read_pictures(pictures: Iterable[Picture], side: int, channels: int = 3) -> Iterator[np.ndarray | UserError]:
    """`read_picture` of each, several at once; in place of one that cannot be read, the error that names it."""

    def read(picture: Picture) -> np.ndarray | UserError:
        try:
            return read_picture(picture, side, channels)
        except UserError as error:
            return UserError(*error.args)  # that one holds on to its frames, and so to pictures

    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(read, pictures)


def whole(image: np.ndarray | UserError) -> np.ndarray:
    """A picture of `read_pictures`, or its error raised."""
    if isinstance(image, UserError):
        raise UserError(*image.args)  # itself, it would hold on to this frame, and so to all pictures not read yet
    return image


def read_picture(picture: Picture, side: int, channels: int = 3) -> np.ndarray:
    """A picture as the networks take it: (side, side, channels) uint8, channels 1 or 3.

    Turned upright as its EXIF data says, cut to its central square, resized, laid on white where it is transparent.
    Greys of 16 bits are divided by 257. Other numbers above 8 bits are refused: no rule says what they mean.
    """
    name = str(picture) if isinstance(picture, str | Path) else "picture in memory"
    try:
        if isinstance(picture, Image.Image):
            return _square(picture, name, side, channels, copy=True)
        if isinstance(picture, np.ndarray):
            if picture.dtype == np.uint8 and picture.size and (picture.ndim == 2 or picture.shape[2:] in ((3,), (4,))):
                return _square(Image.fromarray(picture), name, side, channels)
            raise UserError(f"{name}: found {picture.dtype} of shape {picture.shape}; must be uint8 (H, W[, 3 or 4])")
        if not isinstance(picture, str | Path):
            raise UserError(f"{name}: found {shown(picture)}; must be a path, a PIL image or an array")
        check_file(picture, "name a picture", MOST_BYTES)
        with _Reader(picture) as file, contextlib.closing(Image.open(file, formats=FORMATS)) as image:
            return _square(image, name, side, channels)
    except UserError:
        raise
    except UnidentifiedImageError:
        head = Path(name).read_bytes()[:64]
        kind = next((f"{words}, " for magic, words in OTHERS.items() if magic in head), "")
        raise UserError(f"{name}: not a picture that can be read ({kind}none of {', '.join(FORMATS)})") from None
    except Exception as error:  # Pillow's readers raise nearly every kind for a broken file
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        if isinstance(error, MemoryError) or "out of memory" in reason or "allocate memory" in reason:
            raise UserError(f"{name}: out of memory; close other programs, or make it smaller") from None
        raise UserError(f"{name}: not a picture that can be read ({reason})") from None


def find_pictures(folder: str | Path) -> list[Path]:
    """All files below `folder` with a picture's suffix, sorted. What is not taken is told, but for hidden files."""
    found, left_out = _search(folder)
    _tell(left_out)
    return found


def find_classes(folder: Path) -> dict[str, list[Path]]:
    """The pictures of each folder in `folder`, by its name, both in order. What is not taken is told as above."""
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    found = {path.name: _search(path) for path in inside if os.path.isdir(path)}
    beside = [path for path in inside if path.name not in found]
    _tell(beside + [path for _, others in found.values() for path in others])
    return {name: pictures for name, (pictures, _) in found.items()}


def _search(folder: str | Path) -> tuple[list[Path], list[Path]]:
    """Pictures below a folder by their names, and what else is there, folders that cannot be read among it."""
    found: list[Path] = []
    left_out: list[Path] = []
    for place, folders, files in os.walk(folder, onerror=lambda error: left_out.append(Path(error.filename))):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]  # not followed
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(place, name) for name in files + links if not name.startswith(".")):
            (found if path.suffix.lower() in SUFFIXES and os.path.isfile(path) else left_out).append(path)
    return sorted(found), sorted(left_out)


def _tell(left_out: list[Path]) -> None:
    if left_out:
        names = ", ".join(printable(path) for path in left_out[:5]) + (", ..." if len(left_out) > 5 else "")
        print(f"left out, {len(left_out)} in all: {names}", file=sys.stderr)


class _Reader(io.FileIO):
    """A file that stops whoever reads it too long, as a JPEG of a million refinements makes Pillow do."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.end = time.monotonic() + MOST_SECONDS

    def read(self, size: int | None = -1, /) -> bytes:
        if time.monotonic() > self.end:
            raise UserError(f"{self.name}: takes too much time to read")  # Pillow catches other errors
        return super().read(size)


def _square(image: Image.Image, name: str, side: int, channels: int, copy: bool = False) -> np.ndarray:
    """What `read_picture` returns, of an open picture. As few copies of it in full as can be are made."""
    pixels = image.width * image.height
    if pixels > MOST_PIXELS:
        raise UserError(f"{name}: {image.width} x {image.height} pixels; must be at most {MOST_PIXELS} in all")
    with _large if pixels > LARGE else contextlib.nullcontext():
        kind, image = image.format, image.copy() if copy else image  # what follows changes it
        image.draft("RGB", (2 * side, 2 * side))  # JPEG decodes small at once, unless the size is less
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I;16") or (image.mode, kind) == ("I", "PPM"):
            values = np.asarray(image)
            grey = (values // 257).astype(np.uint8)
            grey[values == image.info.get("transparency", -1)] = 255
            image = Image.fromarray(grey)
        if image.mode.startswith(("I", "F")):
            raise UserError(f"{name}: has numbers of 32 bits or fractions; save it with 8 or 16 bits a channel")
        mode = "RGBA" if image.has_transparency_data else "RGB"
        image = image if image.mode == mode else image.convert(mode)
        square = ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS)
        if mode == "RGBA":
            square = Image.alpha_composite(Image.new("RGBA", square.size, "white"), square)
        return np.asarray(square.convert("L" if channels == 1 else "RGB")).reshape(side, side, channels)
