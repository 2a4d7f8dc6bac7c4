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
_BLOCK = 100  # images compared with all others at a time: their distances are what takes memory here


def near_duplicates(
    images: NDArray[np.uint8], others: NDArray[np.uint8], most: float = MOST_DIFFERENCE
) -> NDArray[np.bool_]:
    """Which of `images` (N, H, W, C) have a near-duplicate among `others` (M, H, W, C), or among their mirror images.

    Args:
        most: the largest root mean square difference of a near-duplicate, over all values of both images.

    Returns:
        (N,) of bool.
    """
    if not len(others):
        return np.zeros(len(images), dtype=np.bool_)
    # The mean over a square, times its side, is at most as long as the square (Cauchy-Schwarz): small versions differ
    # at most as much as the images do, and find every candidate.
    ours, theirs = _small(images), _small(others)
    theirs = torch.cat([theirs, _small(others[:, :, ::-1])])
    lengths = (theirs**2).sum(1)
    limit = most**2 * images[0].size if len(images) else 0.0
    found = np.zeros(len(images), dtype=np.bool_)
    for first in range(0, len(ours), _BLOCK):
        block = ours[first : first + _BLOCK]
        squares = (block**2).sum(1, keepdim=True) + lengths - 2 * block @ theirs.T
        for row, other in (squares <= limit * 1.001 + 1.0).nonzero().tolist():
            if not found[first + row]:
                image = others[other % len(others)]
                image = image if other < len(others) else image[:, ::-1]
                difference = images[first + row].astype(np.float64) - image
                found[first + row] = np.mean(difference**2) <= most**2
    return found


def _small(images: NDArray[np.uint8]) -> torch.Tensor:
    """Images, one a row, averaged over squares of about an eighth of the side, times the side of such a square."""
    tensor = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    factor = max(1, images.shape[1] // _SIDE)
    return torch.cat([F.avg_pool2d(part.float(), factor).flatten(1) for part in tensor.split(5000)]) * factor
