"""Near-duplicates: test images that are nearly equal to a training image (Barz and Denzler 2020, in CIFAR).

Exact copies are left out of training by the split. Near ones stay; figures without them say how much they matter.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

MOST_DIFFERENCE = 20.0  # root mean square over all values, in units of 0..255
_SIDE = 8  # images are compared at this side first
_CHUNK = 1000  # images made small, and compared, at a time


def near_duplicates(
    images: NDArray[np.uint8], others: NDArray[np.uint8], most: float = MOST_DIFFERENCE
) -> NDArray[np.bool_]:
    """Which of `images` (N, H, W, C) have a near-duplicate among `others` (M, H, W, C), or among their mirror images.

    Args:
        most: the largest root mean square difference of a near-duplicate, over all values of both images.

    Returns:
        (N,) of bool.
    """
    found = np.zeros(len(images), dtype=np.bool_)
    # The mean over a square, times its side, is at most as long as the square (Cauchy-Schwarz): small versions differ
    # at most as much as the images do, and find every candidate.
    ours = torch.cat([_small(images), _small(images[:, :, ::-1])])
    farthest = (most**2 * images[0].size * 1.001 + 1.0) ** 0.5  # leaves room for rounding
    for first in range(0, len(others), _CHUNK):
        near = torch.cdist(ours, _small(others[first : first + _CHUNK])) <= farthest
        for place, other in near.nonzero().tolist():
            mirrored, row = divmod(place, len(images))
            if not found[row]:
                image = images[row, :, ::-1] if mirrored else images[row]
                difference = image.astype(np.float64) - others[first + other]
                found[row] = np.mean(difference**2) <= most**2
    return found


def _small(images: NDArray[np.uint8]) -> torch.Tensor:
    """Images, one a row, averaged over squares of about an eighth of the side, times the side of such a square."""
    factor = max(1, images.shape[1] // _SIDE)
    parts = (images[first : first + _CHUNK].transpose(0, 3, 1, 2) for first in range(0, len(images), _CHUNK))
    tensors = (torch.from_numpy(np.ascontiguousarray(part)).float() for part in parts)
    return torch.cat([F.avg_pool2d(tensor, factor).flatten(1) for tensor in tensors]) * factor
