"""A folder of pictures becomes a data set: the same one each time, and mistakes in it are named."""

import os
import shutil

import numpy as np
import pytest
from helpers import refusal, write_pictures

from oneshot.sources.image_folder import folder_size, read_folder


@pytest.fixture
def root(tmp_path, digits):
    return write_pictures(tmp_path / "pictures", digits)


def test_every_picture_is_there_once(root, digits):
    found = read_folder(root, 8, seed=1)
    assert found.class_names == sorted(digits.class_names)
    assert found.train_images.shape == (80, 8, 8, 3) and found.test_images.shape == (20, 8, 8, 3)
    assert np.bincount(found.train_labels).tolist() == [8] * 10
    expected = sorted(
        np.repeat(digits.train_images[row], 3, axis=2).tobytes()
        for label in range(10)
        for row in np.flatnonzero(digits.train_labels == label)[:10]
    )
    assert sorted(image.tobytes() for image in [*found.train_images, *found.test_images]) == expected


def test_the_split_follows_the_seed(root):
    once, again, other = (read_folder(root, 8, seed=seed) for seed in (1, 1, 2))
    assert once.test_images.tobytes() == again.test_images.tobytes() != other.test_images.tobytes()


def test_given_parts_are_taken(root, tmp_path):
    shutil.copytree(root, tmp_path / "both/train")
    shutil.copytree(root, tmp_path / "both/test")
    found = read_folder(tmp_path / "both", 16, seed=1)
    assert found.train_images.shape == found.test_images.shape == (100, 16, 16, 3)
    assert found.train_images.tobytes() == found.test_images.tobytes()
    for picture in (tmp_path / "both/test/three").iterdir():
        picture.unlink()
    assert "class three: has no pictures in test/; must have" in refusal(folder_size, tmp_path / "both")
    shutil.rmtree(tmp_path / "both/test/three")
    assert "class three is in only one of train/ and test/" in refusal(read_folder, tmp_path / "both", 16, 1)


def test_mistakes_are_named(root):
    (root / "two/odd.png").write_bytes(b"no picture")
    assert "two/odd.png: not a picture" in refusal(read_folder, root, 8, 1)
    (root / "two/odd.png").unlink()
    (root / "two").rename(root / os.fsdecode(b"two\xe9\n"))
    for call in ((folder_size, root), (read_folder, root, 8, 1)):  # of check_params, of download
        assert r"class two\udce9\n: the folder's name must be text" in refusal(*call)
