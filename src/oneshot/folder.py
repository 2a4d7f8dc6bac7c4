"""A data set from a folder of pictures with a folder for each class, as torchvision's ImageFolder reads it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from oneshot.dataset import Dataset
from oneshot.errors import UserError
from oneshot.pictures import find_pictures, read_picture

TEST_PICTURES = 2  # the fewest of a class: a pair
_TEST_STREAM = 103  # of random numbers, apart from those of the split and of training


def read_folder(root: str | Path, side: int, test_share: float, seed: int) -> Dataset:
    """The pictures in `root`, resized to `side` pixels: root/CLASS/... or root/train/CLASS/... and root/test/CLASS/...

    Classes are in the order of their names, pictures in the order of their paths.

    Args:
        test_share: of each class's pictures to test on, drawn by `seed`, where there is no train/ and test/.

    Raises:
        UserError: no such folder, fewer than 4 classes, a class with too few pictures, or a broken picture; each named.
    """
    root = Path(root).expanduser().resolve()
    if not root.is_dir():
        raise UserError(f"params.yaml: data_folder: found {str(root)!r}; there is no such folder")
    given = [root / part for part in ("train", "test")]
    if all(part.is_dir() for part in given):
        train, test = map(_classes, given)
        if different := set(train) ^ set(test):
            raise UserError(f"{root}: class {min(different)} is in only one of train/ and test/; must be in both")
    else:
        every = _classes(root)
        chosen = {name: _test_rows(len(paths), test_share, seed, label) for label, (name, paths) in
                  enumerate(every.items())}  # fmt: skip
        test = {name: [paths[row] for row in sorted(chosen[name])] for name, paths in every.items()}
        train = {name: [path for row, path in enumerate(paths) if row not in chosen[name]]
                 for name, paths in every.items()}  # fmt: skip
    if len(train) < 4:
        raise UserError(f"{root}: {len(train)} classes (folders with pictures); at least 4 are needed")
    for part, purpose, least in ((train, "learn from", 2), (test, "test on", TEST_PICTURES)):
        for name, paths in part.items():
            if len(paths) < least:
                raise UserError(f"{root}: class {name} has {len(paths)} pictures to {purpose}; at least {least} needed")
    return Dataset(*_read(train, side), *_read(test, side), list(train))


def _classes(root: Path) -> dict[str, list[Path]]:
    """Name of each class, a folder in `root`, and its pictures."""
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    return {folder.name: find_pictures(folder) for folder in folders}


def _test_rows(count: int, share: float, seed: int, label: int) -> set[int]:
    rng = np.random.default_rng((seed, _TEST_STREAM, label))
    return set(rng.permutation(count)[: max(TEST_PICTURES, round(share * count))].tolist())


def _read(part: dict[str, list[Path]], side: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, side, side, 3) uint8 and labels (N,) int64, class after class."""
    paths: Sequence[Path] = [path for of_class in part.values() for path in of_class]
    labels = np.repeat(np.arange(len(part)), [len(of_class) for of_class in part.values()])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pictures = pool.map(lambda path: read_picture(path, side), paths)
        images = list(tqdm(pictures, total=len(paths), desc="pictures", unit="file", mininterval=1))
    return np.stack(images), labels.astype(np.int64)
