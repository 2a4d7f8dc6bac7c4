"""Pictures of all kinds come out upright, square and opaque; what is no picture is named, never a traceback."""

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import damaged, fuzz, refusal, taken_or_named
from hypothesis import strategies as st
from PIL import Image

from oneshot.sources import pictures
from oneshot.sources.pictures import find_classes, find_pictures, read_picture

RED, BLUE = (255, 0, 0), (0, 0, 255)


def half_red(width=64, height=64):
    """Left half red, right half blue."""
    image = Image.new("RGB", (width, height), BLUE)
    image.paste(RED, (0, 0, width // 2, height))
    return image


def assert_half_red(values):
    side = len(values)
    assert np.abs(values[:, : side // 2 - 1].astype(int) - RED).max() < 60
    assert np.abs(values[:, side // 2 + 1 :].astype(int) - BLUE).max() < 60


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tiff", "ppm"])
@pytest.mark.parametrize("size", [(64, 64), (300, 200), (8, 8)])
def test_any_format_and_size(tmp_path, suffix, size):
    half_red(*size).save(tmp_path / f"picture.{suffix}")
    found = read_picture(tmp_path / f"picture.{suffix}", 32)
    assert found.shape == (32, 32, 3) and found.dtype == np.uint8
    if size != (8, 8):  # enlarged, the border is wide
        assert_half_red(found)


BUFFER = io.BytesIO()
Image.effect_noise((100, 100), 50).save(BUFFER, "png")
PNG = BUFFER.getvalue()
TURNED_BACK = ["FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_90", "TRANSVERSE", "ROTATE_270"]


@pytest.mark.parametrize("number", range(len(TURNED_BACK)))
def test_turned_upright_as_exif_says(tmp_path, number):
    """Each file holds its picture turned or mirrored in another way, and says so."""
    exif = Image.Exif()
    exif[0x0112] = number + 2
    stored = half_red().transpose(Image.Transpose[TURNED_BACK[number]])
    stored.save(tmp_path / "picture.jpg", exif=exif, quality=95)
    assert_half_red(read_picture(tmp_path / "picture.jpg", 32))


GREY = Image.new("RGB", (40, 40), (128, 128, 128))
GREYS = [GREY.convert("L").quantize(), *map(GREY.convert, ("L", "LA", "RGBA", "CMYK"))]
GREYS.append(Image.fromarray(np.full((40, 40), 128 * 257, np.uint16)))


@pytest.mark.parametrize("image", GREYS, ids=lambda image: image.mode)
def test_any_mode(tmp_path, image):
    image.save(tmp_path / "picture.tiff")
    assert np.abs(read_picture(tmp_path / "picture.tiff", 16).astype(int) - 128).max() <= 3
    assert read_picture(tmp_path / "picture.tiff", 16, channels=1).shape == (16, 16, 1)
    (tmp_path / "picture.pgm").write_bytes(b"P5 8 8 65535\n" + b"\x80\x80" * 64)  # 16 bits under a header of text
    assert (read_picture(tmp_path / "picture.pgm", 8) == 128).all()


@pytest.mark.parametrize(
    ("image", "transparency"),
    [
        (Image.new("RGBA", (20, 20), (0, 0, 0, 0)), None),
        (Image.new("P", (20, 20)), 0),
        (Image.fromarray(np.full((20, 20), 700, np.uint16)), 700),
    ],
    ids=["RGBA", "P", "I;16"],
)
def test_transparent_places_are_white(tmp_path, image, transparency):
    image.save(tmp_path / "picture.png", **({} if transparency is None else {"transparency": transparency}))
    assert read_picture(tmp_path / "picture.png", 8).min() == 255


@pytest.mark.parametrize("values", [[0.0, 1.0], [0.2, np.nan], [0, 2**30]], ids=str)
def test_numbers_whose_range_no_rule_tells_are_refused(tmp_path, values):
    dtype = np.int32 if isinstance(values[0], int) else np.float32
    Image.fromarray(np.tile(np.array(values, dtype), (20, 10))).save(tmp_path / "odd.tiff")
    told = "odd.tiff: has numbers of 32 bits or fractions; save it with 8 or 16 bits"
    assert told in refusal(read_picture, tmp_path / "odd.tiff", 8)


def test_the_centre_is_kept(tmp_path):
    image = Image.new("RGB", (300, 100), BLUE)
    image.paste(RED, (100, 0, 200, 100))
    image.save(tmp_path / "picture.png")
    assert np.abs(read_picture(tmp_path / "picture.png", 10)[:, 1:-1].astype(int) - RED).max() < 30


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not a picture"),
        (b"no picture at all", "not a picture"),
        (PNG[:3000], "not a picture"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "not a"),
        # Pillow would hand this to Ghostscript, which would run for ever.
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n", r".*\(PostScript, none of PNG,"),
        (b"\xc5\xd0\xd3\xc6" + b"\0" * 99, r".*\(PostScript, none of PNG,"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 99, r".*\(HEIC or a film, none of PNG,"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path, content, why):
    (tmp_path / "odd.png").write_bytes(content)
    assert re.search(f"odd.png: {why}", refusal(read_picture, tmp_path / "odd.png", 32))


def test_a_picture_too_large_to_decode_is_refused_unread(tmp_path, monkeypatch):
    half_red(100, 100).save(tmp_path / "bomb.png")
    monkeypatch.setattr(pictures, "MOST_PIXELS", 9999)
    assert "bomb.png: 100 x 100 pixels" in refusal(read_picture, tmp_path / "bomb.png", 32)
    monkeypatch.setattr(pictures, "MOST_BYTES", 10)
    assert "bomb.png: has more than 10 bytes" in refusal(read_picture, tmp_path / "bomb.png", 32)


def test_many_large_pictures_take_little_more_memory_than_one(tmp_path):
    """Small files that unpack to a gigabyte each, or fail when they nearly have, and a sound one at the end."""
    side = 8192
    Image.new("RGBA", (side, side), (200, 10, 10, 128)).save(tmp_path / "0.webp", lossless=True, method=0, quality=0)
    Image.new("I;16", (side, side), 30000).save(tmp_path / "1.png")
    Image.new("P", (side, side), 1).save(tmp_path / "2.png", transparency=b"\0\x80")
    (tmp_path / "3.png").write_bytes((tmp_path / "1.png").read_bytes()[:-2000])
    for number, copied in ((4, "3.png"), (5, "0.webp")):
        shutil.copy(tmp_path / copied, tmp_path / f"{number}{Path(copied).suffix}")
    half_red().save(tmp_path / "6.png")
    code = """if True:
        import resource, sys
        from oneshot.sources import pictures
        pictures.THREADS = 8
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = list(pictures.read_pictures(sys.argv[1:], 32))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, [type(each).__name__ for each in found])"""
    command = [sys.executable, "-c", code, *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kilobytes, kinds = done.stdout.split(" ", 1)
    assert int(kilobytes) < 1.3 * 2**20
    array, error = "ndarray", "UserError"
    assert kinds.strip() == str([array, array, array, error, error, array, array])


def test_reading_ends_in_time_and_out_of_memory_is_said(tmp_path, monkeypatch):
    half_red().save(tmp_path / "slow.png")
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "MOST_SECONDS", -1)
        assert "slow.png: takes too much time" in refusal(read_picture, tmp_path / "slow.png", 8)
    monkeypatch.setattr(Image, "alpha_composite", lambda *_: bytearray(2**62))
    Image.new("LA", (9, 9)).save(tmp_path / "large.png")
    assert "large.png: out of memory" in refusal(read_picture, tmp_path / "large.png", 8)


@fuzz(200, suffix=st.sampled_from(["png", "jpg", "gif", "bmp", "tiff", "webp", "ppm", "avif"]), data=st.data())
def test_damaged_pictures_are_read_or_named(tmp_path, suffix, data):
    """Bytes of a good file changed, cut or added to, under any name: an array of the right shape, or one line."""
    half_red(20, 30).save(tmp_path / f"good.{suffix}")
    odd = tmp_path / f"odd.{data.draw(st.sampled_from(['png', 'jpg', 'tiff', 'webp', 'eps']))}"
    odd.write_bytes(damaged(data, (tmp_path / f"good.{suffix}").read_bytes()))
    found = taken_or_named(f"{odd}: ", read_picture, odd, 16)
    assert found is None or found.shape == (16, 16, 3)


def test_pictures_are_found_in_order_below_a_folder_and_the_rest_is_told(tmp_path, capsys):
    for name in (
        "b/2.JPG", "b/1.png", "a.webp", ".hidden/3.png", "b/.4.png", "notes.txt", "b/Thumbs.db", "b/film.mpg",
        "drawing.eps", "b/phone.heic", "a\x1b[2J.txt",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "b/pipe.png")
    (tmp_path / "b/loop").symlink_to(tmp_path / "b")
    assert [str(path.relative_to(tmp_path)) for path in find_pictures(tmp_path)] == ["a.webp", "b/1.png", "b/2.JPG"]
    left_out = ["a\\x1b[2J.txt", "b/Thumbs.db", "b/film.mpg", "b/loop", "b/phone.heic"]
    assert capsys.readouterr().err == f"left out, 8 in all: {', '.join(str(tmp_path / n) for n in left_out)}, ...\n"
    assert list(find_classes(tmp_path)) == ["b"]
    assert f"left out, 9 in all: {tmp_path}/a\\x1b[2J.txt, {tmp_path}/a.webp, " in capsys.readouterr().err
