"""Pictures of all kinds come out upright, square and opaque; what is no picture is named, never a traceback."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from helpers import damaged, fuzz
from hypothesis import strategies as st
from PIL import Image

from oneshot.common.errors import UserError
from oneshot.sources import pictures
from oneshot.sources.pictures import find_pictures, read_picture

RED, BLUE = (255, 0, 0), (0, 0, 255)


def half_red(width: int = 64, height: int = 64) -> Image.Image:
    """Left half red, right half blue."""
    image = Image.new("RGB", (width, height), BLUE)
    image.paste(RED, (0, 0, width // 2, height))
    return image


def assert_half_red(values: np.ndarray) -> None:
    side = len(values)
    assert np.abs(values[:, : side // 2 - 1].astype(int) - RED).max() < 60
    assert np.abs(values[:, side // 2 + 1 :].astype(int) - BLUE).max() < 60


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tiff", "ppm"])
@pytest.mark.parametrize("size", [(64, 64), (300, 200), (8, 8)])
def test_any_format_and_size(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    half_red(*size).save(tmp_path / f"picture.{suffix}")
    found = read_picture(tmp_path / f"picture.{suffix}", 32)
    assert found.shape == (32, 32, 3) and found.dtype == np.uint8
    if size != (8, 8):  # enlarged, the border is wide
        assert_half_red(found)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_upright_as_exif_says(tmp_path: Path, orientation: int) -> None:
    """Each file holds its picture turned or mirrored in another way, and says so."""
    turned_back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    image = half_red()
    stored = image.transpose(turned_back[orientation]) if orientation in turned_back else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "picture.jpg", exif=exif, quality=95)
    assert_half_red(read_picture(tmp_path / "picture.jpg", 32))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16", "I", "F"])
def test_any_mode(tmp_path: Path, mode: str) -> None:
    grey = Image.new("L", (40, 40), 128)
    if mode == "P":
        image = grey.quantize()
    elif mode not in ("I;16", "I", "F"):
        image = grey.convert("RGB").convert(mode)
    else:
        values = np.full((40, 40), 128 * 257 if mode != "F" else 128)
        image = Image.fromarray(values.astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]))
    image.save(tmp_path / "picture.tiff")
    found = read_picture(tmp_path / "picture.tiff", 16)
    if mode != "1":  # which dithers
        assert np.abs(found.astype(int) - 128).max() <= 3
    assert read_picture(tmp_path / "picture.tiff", 16, channels=1).shape == (16, 16, 1)


def test_transparent_places_are_white(tmp_path: Path) -> None:
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(tmp_path / "picture.png")
    assert read_picture(tmp_path / "picture.png", 8).min() == 255


def test_the_centre_is_kept(tmp_path: Path) -> None:
    image = Image.new("RGB", (300, 100), BLUE)
    image.paste(RED, (100, 0, 200, 100))
    image.save(tmp_path / "picture.png")
    assert np.abs(read_picture(tmp_path / "picture.png", 10)[:, 1:-1].astype(int) - RED).max() < 30


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "not a picture"), (b"no picture at all", "not a picture"), (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "not a")],
)
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "odd.png").write_bytes(content)
    with pytest.raises(UserError, match=f"odd.png: {why}") as caught:
        read_picture(tmp_path / "odd.png", 32)
    assert "\n" not in str(caught.value)


def test_a_truncated_picture_is_named(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((100, 100), 50).save(buffer, "png")
    (tmp_path / "cut.png").write_bytes(buffer.getvalue()[:3000])
    with pytest.raises(UserError, match="cut.png: not a picture"):
        read_picture(tmp_path / "cut.png", 32)


def test_a_missing_picture_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gone.png: no such file"):
        read_picture(tmp_path / "gone.png", 32)
    with pytest.raises(UserError, match="not a picture"):
        read_picture(tmp_path, 32)


def test_a_picture_too_large_to_decode_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half_red(100, 100).save(tmp_path / "bomb.png")
    monkeypatch.setattr(pictures, "MOST_PIXELS", 9999)
    with pytest.raises(UserError, match="bomb.png: 100 x 100 pixels"):
        read_picture(tmp_path / "bomb.png", 32)
    monkeypatch.setattr(pictures, "MOST_BYTES", 10)
    with pytest.raises(UserError, match="bomb.png: larger than"):
        read_picture(tmp_path / "bomb.png", 32)


@fuzz(
    200,
    suffix=st.sampled_from(["png", "jpg", "gif", "bmp", "tiff", "webp", "ppm", "avif", "jp2", "ico", "tga", "dds"]),
    data=st.data(),
)
def test_damaged_pictures_are_read_or_named(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    """Bytes of a good file changed, cut or added to: an array of the right shape, or one clear line."""
    half_red(20, 30).save(tmp_path / f"good.{suffix}")
    (tmp_path / f"odd.{suffix}").write_bytes(damaged(data, (tmp_path / f"good.{suffix}").read_bytes()))
    try:
        assert read_picture(tmp_path / f"odd.{suffix}", 16).shape == (16, 16, 3)
    except UserError as error:
        assert f"odd.{suffix}: " in str(error) and "\n" not in str(error)


def test_pictures_are_found_in_order_below_a_folder(tmp_path: Path) -> None:
    for name in (
        "b/2.JPG",
        "b/1.png",
        "a.webp",
        ".hidden/3.png",
        "b/.4.png",
        "notes.txt",
        "b/Thumbs.db",
        "b/film.mpg",
        "drawing.eps",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [str(path.relative_to(tmp_path)) for path in find_pictures(tmp_path)] == ["a.webp", "b/1.png", "b/2.JPG"]
