"""Near-duplicates are found as comparing every pair finds them."""

import numpy as np
import pytest

from oneshot.evaluation import near_duplicates as near_duplicates_module
from oneshot.evaluation.near_duplicates import near_duplicates


def every_pair(images, others, most):
    versions = [version.astype(float) for other in others for version in (other, other[:, ::-1])]
    return [any(np.sqrt(np.mean((image - version) ** 2)) <= most for version in versions) for image in images]


@pytest.mark.parametrize("shape", [(16, 16, 3), (8, 8, 1), (12, 12, 3), (28, 28, 1), (7, 7, 3), (37, 37, 3)])
def test_same_as_comparing_every_pair(shape, monkeypatch):
    monkeypatch.setattr(near_duplicates_module, "_CHUNK", 16)
    random = np.random.default_rng(0)
    others = random.integers(0, 256, (40, *shape), dtype=np.uint8)
    noise = random.normal(0, 1, (40, *shape)) * np.linspace(0, 30, 40)[:, None, None, None]
    images = np.clip(others + noise, 0, 255).round().astype(np.uint8)
    images[::2] = images[::2, :, ::-1]
    images = np.concatenate([images, random.integers(0, 256, (20, *shape), dtype=np.uint8)])
    found = near_duplicates(images, others, most=10.0)
    assert found.tolist() == every_pair(images, others, 10.0)
    assert 5 < found.sum() < 25


def test_flat_images_of_like_mean_are_duplicates_only_when_close():
    images = np.full((3, 8, 8, 1), 100, dtype=np.uint8)
    images[1] += 9
    images[2] += 12
    assert near_duplicates(images, images[:1], most=10.0).tolist() == [True, True, False]
    assert near_duplicates(images, images[:0]).tolist() == [False] * 3
