"""The parameter `dataset` is a known name or a folder of pictures; the known data sets are what they should be."""

from collections import Counter

import numpy as np
import pytest
from helpers import refusal, write_pictures

from oneshot.sources import datasets
from oneshot.sources.datasets import DATASETS, DownloadStage, dataset_mistake, fetch_dataset, get_dataset, known_size
from oneshot.sources.image_folder import read_folder


def test_digits_need_no_network_and_no_folder(tmp_path):
    digits = fetch_dataset("digits", tmp_path / "raw", "http://127.0.0.1:9/")
    assert not (tmp_path / "raw").exists()
    assert digits.train_images.shape == (1297, 8, 8, 1)
    assert digits.train_images.dtype == digits.test_images.dtype == np.uint8
    assert (digits.train_images.min(), digits.train_images.max()) == (0, 255)
    assert np.bincount(digits.test_labels).tolist() == [50] * 10
    assert np.bincount(digits.train_labels).min() >= 120
    assert digits.class_names[3] == "three"
    images = [image.tobytes() for image in [*digits.train_images, *digits.test_images]]
    assert len(set(images)) == 1797


def test_the_real_cifar100(cifar100):
    assert cifar100.train_images.shape == (50000, 32, 32, 3)
    assert cifar100.test_images.shape == (10000, 32, 32, 3)
    assert np.bincount(cifar100.train_labels).tolist() == [500] * 100
    assert np.bincount(cifar100.test_labels).tolist() == [100] * 100
    assert cifar100.class_names[90:] == [
        *("train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm")
    ]


def params(dataset, image_size=16):
    return DownloadStage(dataset=dataset, image_size=image_size, seed=3)


def test_a_folder_is_read_and_another_data_set_is_one_more_line(tmp_path, tiny, monkeypatch):
    folder = write_pictures(tmp_path / "pictures", tiny)
    expected = read_folder(folder, 16, seed=3)
    monkeypatch.setenv("HOME", str(folder.parent))
    for name in (str(folder), f"~/{folder.name}"):
        found = get_dataset(params(name), "unused", "/nowhere")
        for part in ("train_images", "train_labels", "test_images", "test_labels"):
            assert getattr(found, part).tobytes() == getattr(expected, part).tobytes()
        assert found.class_names == expected.class_names
    assert known_size(str(folder)) == (6, 8)  # of ten pictures of each class, two are to test on
    monkeypatch.setitem(datasets.DATASETS, "tiny", datasets.KnownDataset(lambda *_: tiny, classes=6, images=12))
    assert get_dataset(params("tiny"), "unused") is tiny and known_size("tiny") == (6, 12)
    assert "tiny" in dataset_mistake("none")
    assert not any(map(dataset_mistake, (*DATASETS, str(folder))))


@pytest.mark.parametrize(
    ("dataset", "hint"), [("cifar10", "; did you mean cifar100?"), ("Digits", "; did you mean digits?"), ("/gone", "")]
)
def test_what_is_neither_is_named(tmp_path, dataset, hint):
    allowed = f"must be one of {', '.join(sorted(DATASETS))}, or the path of a folder of pictures{hint}"
    assert dataset_mistake(dataset) == allowed
    assert refusal(get_dataset, params(dataset), tmp_path / "raw") == f"dataset: found {dataset!r}; {allowed}"
    assert not (tmp_path / "raw").exists()


def test_a_path_that_none_can_have_is_named_too():
    for odd in ("a\nb", "x" * 5000, "~nobody-of-this-name/x", "a\0b"):
        assert refusal(get_dataset, params(odd), "raw") and dataset_mistake(odd)


@pytest.mark.parametrize("name", ["digits", "cifar100"])
def test_known_sizes_hold_however_classes_are_split(request, name):
    dataset = request.getfixturevalue(name)
    times = Counter(image.tobytes() for image in [*dataset.train_images, *dataset.test_images])
    pairs = zip(dataset.train_images, dataset.train_labels.tolist(), strict=True)
    single = Counter(label for image, label in pairs if times[image.tobytes()] == 1)
    assert known_size(name) == (len(dataset.class_names), min(single.values()))
