"""A data set from a folder of pictures with a folder for each class, as torchvision's ImageFolder reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from oneshot.common.errors import UserError, printable
from oneshot.data.dataset import Dataset
from oneshot.data.sampling import random_stream
from oneshot.sources.pictures import find_classes, read_pictures, whole

TEST_SHARE = 0.2  # of each class's pictures to test on, where there is no train/ and test/
TEST_PICTURES = 2  # the fewest of a class: a pair

ClassFiles = dict[str, list[Path]]  # name of each class and its pictures


def read_folder(root: str | Path, side: int, seed: int) -> Dataset:
    """The pictures in `root`, resized to `side` pixels: root/CLASS/... or root/train/CLASS/... and root/test/CLASS/...

    Classes are in the order of their names, pictures in the order of their paths. Without train/ and test/, a share
    of each class's pictures, drawn by `seed`, is there to test on.

    Whether there are enough classes and pictures, check_params sees, and `make_split` for each class.
    """
    root = Path(root).expanduser().resolve()
    train, test = _files(root, seed)
    return Dataset(*_read(train, side), *_read(test, side), list(train))


def folder_size(root: str | Path) -> tuple[int, int]:
    """How many classes a folder has, and how many pictures the class with the fewest has to train on."""
    train, _ = _files(Path(root).expanduser(), seed=0)  # which pictures are drawn changes no number
    return len(train), min(map(len, train.values()), default=0)


def _files(root: Path, seed: int) -> tuple[ClassFiles, ClassFiles]:
    """Pictures to train on and pictures to test on, of the same classes, whose names can be shown."""
    if (root / "train").is_dir() and (root / "test").is_dir():
        train, test = find_classes(root / "train"), find_classes(root / "test")
        if empty := [name for name, paths in test.items() if not paths]:
            raise UserError(f"{root}: class {printable(empty[0])}: has no pictures in test/; must have at least 2")
    else:
        train, test = {}, {}
        for label, (name, paths) in enumerate(find_classes(root).items()):
            count = max(TEST_PICTURES, round(TEST_SHARE * len(paths)))
            chosen = set(random_stream(seed, "test_pictures", label).permutation(len(paths))[:count].tolist())
            train[name] = [path for row, path in enumerate(paths) if row not in chosen]
            test[name] = [path for row, path in enumerate(paths) if row in chosen]
    if different := set(train) ^ set(test):
        raise UserError(f"{root}: class {min(different)} is in only one of train/ and test/; must be in both")
    if odd := [name for name in train if not name.isprintable()]:
        raise UserError(f"{root}: class {printable(odd[0])}: the folder's name must be text that can be shown")
    return train, test


def _read(part: ClassFiles, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, side, side, 3) uint8 and labels (N,) int64, class after class."""
    paths = [path for of_class in part.values() for path in of_class]
    labels = np.repeat(np.arange(len(part)), [len(of_class) for of_class in part.values()])
    read = tqdm(read_pictures(paths, side), total=len(paths), desc="pictures", unit="file", mininterval=1)
    return np.stack([whole(image) for image in read]), labels.astype(np.int64)
