"""Pictures from files: any format that Pillow reads, any size, upright, decoded under limits; broken ones are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from oneshot.common.errors import UserError

MOST_PIXELS = 2**26  # of a picture, 67 megapixels: above it, decoding may take all memory
MOST_BYTES = 2**28  # of a file
NO_PICTURES = {".mpg", ".mpeg", ".h5", ".hdf", ".grib", ".bufr", ".wmf", ".emf", ".eps", ".ps", ".fit", ".fits"}


def read_picture(path: str | Path, side: int, channels: int = 3) -> np.ndarray:
    """A picture as the networks take it: (side, side, channels) uint8, channels 1 or 3.

    Turned upright as its EXIF data says, laid on white where it is transparent, cut to its central square, resized.

    Raises:
        UserError: the file is missing, too large, or no picture; the message names it.
    """
    try:
        if Path(path).stat().st_size > MOST_BYTES:
            raise UserError(f"{path}: larger than {MOST_BYTES >> 20} MiB; make it smaller")
        with Image.open(path) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise UserError(f"{path}: {width} x {height} pixels; must be at most {MOST_PIXELS} in all")
            image.draft("RGB", (2 * side, 2 * side))  # JPEG decodes small at once, unless the size is less
            upright = ImageOps.exif_transpose(image)
        square = ImageOps.fit(_opaque(upright), (side, side), Image.Resampling.LANCZOS)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # Pillow's readers raise nearly every kind for a broken file
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"{path}: not a picture that can be read ({reason})") from None
    return np.asarray(square.convert("L" if channels == 1 else "RGB")).reshape(side, side, channels)


def find_pictures(folder: str | Path) -> list[Path]:
    """All files below `folder` with a picture's suffix, sorted; hidden ones are left out."""
    suffixes = {suffix for suffix, name in Image.registered_extensions().items() if name in Image.OPEN} - NO_PICTURES
    found = [path for path in Path(folder).rglob("*") if path.suffix.lower() in suffixes and path.is_file()]
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _opaque(image: Image.Image) -> Image.Image:
    """`image` in mode RGB: 16-bit greys brought to 8 bits, transparent places white."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, dtype=np.float64)
        values = values / 257 if image.mode.startswith("I") else values
        return Image.fromarray(np.nan_to_num(values).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
