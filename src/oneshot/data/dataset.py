"""A data set as four arrays and the names of its classes, kept as one small folder of plain files.

The folder's bytes depend on nothing but the data, so that DVC sees the same output whatever the source.
"""

from __future__ import annotations

import io
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oneshot.common.errors import UserError
from oneshot.common.files import read_json, unfinished, write_bytes, write_json

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
    """Write `dataset` to `folder`, replacing it as a whole: killed at any moment, no half-written folder is left there.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    folder = Path(folder)
    try:
        work = unfinished(folder)
        try:
            for name in _ARRAYS:
                write_bytes(work / f"{name}.npy", _npy(getattr(dataset, name)))
            write_json(work / "classes.json", dataset.class_names)
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(work, folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"{folder}: cannot be written ({reason}); free space or mend the permissions, then run again"
        ) from None


def load_dataset(folder: str | Path) -> Dataset:
    """Read what `save_dataset` wrote.

    Raises:
        UserError: a file is missing, damaged, or does not fit the others.
    """
    folder = Path(folder)
    arrays = {name: load_array(folder / f"{name}.npy") for name in _ARRAYS}
    names = read_json(folder / "classes.json")
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names) and len(set(names)) == len(names)):
        raise _damaged(folder / "classes.json", "must be a list of different names")
    for part in ("train", "test"):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
            found = f"found {images.dtype} {images.shape}"
            raise _damaged(folder / f"{part}_images.npy", f"{found}, must be uint8 (N, H, W, 1 or 3)")
        if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
            found = f"found {labels.dtype} {labels.shape}"
            raise _damaged(folder / f"{part}_labels.npy", f"{found}, must be int64 ({len(images)},), one an image")
        if labels.min() < 0 or labels.max() >= len(names):
            found = f"found labels {labels.min()} to {labels.max()}"
            raise _damaged(folder / f"{part}_labels.npy", f"{found}, must be 0 to {len(names) - 1} as in classes.json")
    if arrays["train_images"].shape[1:] != arrays["test_images"].shape[1:]:
        found = f"found images of {arrays['test_images'].shape[1:]}"
        raise _damaged(
            folder / "test_images.npy", f"{found}, must be {arrays['train_images'].shape[1:]} as in training"
        )
    return Dataset(**arrays, class_names=names)


def channel_statistics(images: np.ndarray, rows: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of the images (N, H, W, C) at `rows`, in units of 0..255."""
    counts = np.zeros((images.shape[3], 256), dtype=np.int64)
    for part in np.split(rows, range(1000, len(rows), 1000)):
        for count, channel in zip(counts, np.moveaxis(images[part], 3, 0), strict=True):
            count += np.bincount(channel.ravel(), minlength=256)
    values = np.arange(256)
    means = [float((values * count).sum() / count.sum()) for count in counts]
    variances = [
        float((values**2 * count).sum() / count.sum()) - mean**2 for mean, count in zip(means, counts, strict=True)
    ]
    return means, [max(variance, 1.0) ** 0.5 for variance in variances]  # a constant channel divides by 1


def load_array(path: Path) -> np.ndarray:
    """The array of an npy file, as a map of the file: parts of it are read when they are needed, and need not stay.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        # It never unpickles, whatever the file holds. What is written to a map of mode "c" reaches no file; torch takes
        # no map that cannot be written.
        array = np.lib.format.open_memmap(path, mode="c")
        if path.stat().st_size > array.offset + array.nbytes:
            raise ValueError("more follows the array")
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run `dvc repro`, which makes it") from None
    except (ValueError, EOFError, TypeError, ArithmeticError) as error:
        raise _damaged(path, f"not a whole npy file ({error})") from None
    return np.asarray(array)


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(" ".join(f"{path}: {reason}; remove {path.parent} and run `dvc repro`".split()))
