"""The data sets that the stage `download` knows by name, and folders of pictures, which it takes by their path."""

from __future__ import annotations

import difflib
import gzip
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from oneshot.common.errors import UserError
from oneshot.common.params import Seed, StageParams
from oneshot.common.schema import shown
from oneshot.data.dataset import Dataset
from oneshot.sources.fetch import Published, obtain
from oneshot.sources.image_folder import folder_size, read_folder
from oneshot.sources.pictures import Side

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEST_DIGITS = 50  # test images of each digit


class DownloadStage(StageParams):
    """What the stage `download` reads: a known data set or a folder of pictures, and how pictures are read."""

    dataset: Annotated[str, Field(min_length=1)]
    image_size: Side
    seed: Seed


class KnownDataset(NamedTuple):
    """A data set with a name."""

    read: Callable[[Path, str | None], Dataset]  # from the folder of kept files and a source, see `fetch_dataset`
    classes: int
    images: int  # for training, of the class with the fewest, without those that have a copy


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

    class Unpacked(CIFAR100):
        base_folder = ""  # the files lie in `root` itself, whatever its name

    meta = (CIFAR100.meta["filename"], CIFAR100.meta["md5"])
    files = dict([*CIFAR100.train_list, *CIFAR100.test_list, meta])
    folder = obtain(Published(CIFAR100.base_folder, files, [CIFAR100.url], CIFAR100.tgz_md5), raw, source)
    train, test = (Unpacked(folder, train=part) for part in (True, False))
    images = [np.ascontiguousarray(part.data) for part in (train, test)]
    labels = [np.array(part.targets, dtype=np.int64) for part in (train, test)]
    return Dataset(images[0], labels[0], images[1], labels[1], train.classes)


def mnist(raw: Path, source: str | None) -> Dataset:
    """MNIST's handwritten digits, 28x28."""
    from torchvision.datasets import MNIST

    files = dict(MNIST.resources)  # images and labels to train on, then those to test on
    folder = obtain(Published("mnist", files, MNIST.mirrors, inside=("MNIST/raw", "raw")), raw, source)
    # MNIST's format: 16 bytes of sizes before images, 8 before labels; then values.
    contents = [gzip.decompress((folder / name).read_bytes()) for name in files]
    images = [np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28, 1) for content in contents[::2]]
    labels = [np.frombuffer(content, np.uint8, offset=8).astype(np.int64) for content in contents[1::2]]
    return Dataset(images[0], labels[0], images[1], labels[1], DIGITS)


# Another data set is one more function above and one more line here.
DATASETS = {
    "cifar100": KnownDataset(cifar100, classes=100, images=486),
    "digits": KnownDataset(digits, classes=10, images=124),
    "mnist": KnownDataset(mnist, classes=10, images=5421),
}


@cache
def known_size(dataset: str) -> tuple[int, int]:
    """The number of classes, and of training images of the class with the fewest; a folder is counted, with copies."""
    known = DATASETS.get(dataset)
    return (known.classes, known.images) if known else folder_size(dataset)


def dataset_mistake(dataset: str) -> str:
    """What is allowed as parameter `dataset`, where this one is neither a known name nor a folder; else ""."""
    if dataset in DATASETS or os.path.isdir(os.path.expanduser(dataset)):
        return ""
    close = difflib.get_close_matches(dataset, DATASETS, n=1, cutoff=0.7)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"must be one of {', '.join(DATASETS)}, or the path of a folder of pictures{hint}"


def get_dataset(params: DownloadStage, raw: str | Path, source: str | None = None) -> Dataset:
    """The data set that `params` name: a known one, as `fetch_dataset` gives it, or a folder of pictures."""
    if allowed := dataset_mistake(params.dataset):
        raise UserError(f"dataset: found {shown(params.dataset)}; {allowed}")
    if params.dataset in DATASETS:
        return fetch_dataset(params.dataset, raw, source)
    return read_folder(params.dataset, params.image_size, params.seed)


def fetch_dataset(name: str, raw: str | Path, source: str | None = None) -> Dataset:
    """The data set `name`, one of `DATASETS`, as `obtain` gets its files for the folder `raw` from `source`."""
    return DATASETS[name].read(Path(raw), source or None)
