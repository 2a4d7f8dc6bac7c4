"""Data that several tests share: the digits, the real CIFAR-100 where it is at hand, tiny made-up sets."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from oneshot.data.dataset import Dataset
from oneshot.sources.datasets import fetch_dataset

PROJECT = Path(__file__).resolve().parents[1]
os.environ["PYTHONPATH"] = os.pathsep.join(str(PROJECT / name) for name in ("src", "tests"))  # of what tests start
torch.set_num_threads(1)  # several processes of tests share the cores


@pytest.fixture(scope="session")
def cifar100(tmp_path_factory):
    """The real CIFAR-100 from a local archive or folder; tests that ask for it are skipped where there is none."""
    source = Path(os.environ.get("ONESHOT_TEST_CIFAR") or PROJECT.parent / "shared/data/cifar-100-python.tar.xz")
    if not source.exists():
        pytest.skip("no real CIFAR-100 here; name an archive in ONESHOT_TEST_CIFAR")
    return fetch_dataset("cifar100", tmp_path_factory.mktemp("raw"), str(source))


@pytest.fixture(scope="session")
def digits():
    """scikit-learn's digits, as the pipeline uses them."""
    return fetch_dataset("digits", "unused")


@pytest.fixture(scope="session")
def small(digits):
    """Thirty training and ten test images of each digit."""
    train = np.concatenate([np.flatnonzero(digits.train_labels == c)[:30] for c in range(10)])
    test = np.concatenate([np.flatnonzero(digits.test_labels == c)[:10] for c in range(10)])
    return Dataset(
        digits.train_images[train],
        digits.train_labels[train],
        digits.test_images[test],
        digits.test_labels[test],
        digits.class_names,
    )


@pytest.fixture
def tiny():
    """6 classes of 12 training and 3 test images, 2x2 grey, all different."""
    values = np.zeros((6, 15, 2, 2, 1), dtype=np.uint8)
    values[..., 0, 0, 0] = np.arange(6)[:, None]
    values[..., 0, 1, 0] = np.arange(15)
    train, test = values[:, :12].reshape(-1, 2, 2, 1), values[:, 12:].reshape(-1, 2, 2, 1)
    names = ["ant", "bee", "cat", "dog", "eel", "fox"]
    return Dataset(train, np.repeat(np.arange(6), 12), test, np.repeat(np.arange(6), 3), names)
