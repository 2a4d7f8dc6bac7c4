"""A data set as four arrays and the names of its classes, kept as one small folder of plain files.

The folder's bytes depend on nothing but the data, so that DVC sees the same output whatever the source.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oneshot.common.errors import UserError
from oneshot.common.files import check_file, read_json, unfinished, write_json

_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True)
class Dataset:
    """Images (N, H, W, C) uint8, C = 1 or 3; labels (N,) int64, positions in `class_names`."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: list[str]


def save_dataset(folder: str | Path, dataset: Dataset) -> None:
    """Write `dataset` to `folder`, replacing it as a whole: killed at any moment, no half-written folder is there."""
    with unfinished(Path(folder)) as work:
        work.mkdir()
        for name in _ARRAYS:
            np.save(work / f"{name}.npy", np.ascontiguousarray(getattr(dataset, name)), allow_pickle=False)
        write_json(work / "classes.json", dataset.class_names)


def load_dataset(folder: str | Path) -> Dataset:
    """Read what `save_dataset` wrote; UserError where a file is missing or damaged."""
    arrays = {name: load_array(Path(folder, f"{name}.npy")) for name in _ARRAYS}
    return Dataset(**arrays, class_names=read_json(Path(folder, "classes.json"), list[str]))


def channel_statistics(images: np.ndarray, rows: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of the images (N, H, W, C) at `rows`, in units of 0..255."""
    counts = np.zeros((images.shape[3], 256), dtype=np.int64)
    for part in np.split(rows, range(1000, len(rows), 1000)):
        for count, channel in zip(counts, np.moveaxis(images[part], 3, 0), strict=True):
            count += np.bincount(channel.ravel(), minlength=256)
    values, total = np.arange(256), counts.sum(axis=1)
    means, squares = ((counts @ values**power / total).tolist() for power in (1, 2))
    # A constant channel divides by 1.
    return means, [max(square - mean**2, 1.0) ** 0.5 for mean, square in zip(means, squares, strict=True)]


def load_array(path: Path) -> np.ndarray:
    """The array of an npy file, as a map of the file: parts of it are read when they are needed, and need not stay."""
    check_file(path)
    try:
        return np.asarray(np.lib.format.open_memmap(path, mode="r"))  # never unpickles, whatever the file holds
    except (ValueError, EOFError, TypeError, ArithmeticError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a whole npy file ({reason}); remove {path.parent} and run `dvc repro`") from None
