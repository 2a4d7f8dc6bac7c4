"""All images as one uint8 tensor on the device; whole batches are cut out of it and augmented at once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from oneshot.data.sampling import Augmentation


class ImageStore:
    """Images (N, H, W, C) of uint8 kept on a device as one tensor (N, C, H, W).

    Args:
        augmentation: `none`, `crop` (shifts of up to an eighth of the side, black border), `crop_flip` (mirrored, too)
            or `crop_flip_cutout` (a black square of a third of the side, too; DeVries & Taylor 2017).
    """

    def __init__(self, images: np.ndarray, device: torch.device, augmentation: Augmentation = "none") -> None:
        self.images = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(device)
        self.augmentation = augmentation

    def batch(self, indices: np.ndarray) -> Tensor:
        """The images at `indices` (B,), unchanged: (B, C, H, W) of uint8."""
        return self.images[to_device(indices, self.images.device)]

    def augmented(self, indices: np.ndarray, rng: np.random.Generator) -> Tensor:
        """The images at `indices` (B,), each augmented by its own draw: (B, C, H, W) of uint8."""
        images = self.batch(indices)
        if self.augmentation == "none":
            return images
        count, _, height, width = images.shape
        reach = max(1, height // 8)
        windows = F.pad(images, [reach] * 4).unfold(2, height, 1).unfold(3, width, 1)
        shift = to_device(rng.integers(0, 2 * reach + 1, (2, count)), images.device)
        images = windows[torch.arange(count, device=images.device), :, shift[0], shift[1]]
        if self.augmentation.startswith("crop_flip"):
            mirrored = to_device(rng.integers(0, 2, count) > 0, images.device)
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        if self.augmentation == "crop_flip_cutout":
            side = max(1, height // 3)
            # Its centre lies anywhere in the image, so that parts of the square may lie outside.
            top, left = to_device(rng.integers(-(side // 2), height - side // 2, (2, count)), images.device)
            rows, columns = (_covered(first, side, length) for first, length in ((top, height), (left, width)))
            images = images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)
        return images


def _covered(first: Tensor, count: int, length: int) -> Tensor:
    """Which of `length` places are among the `count` that begin at `first` (B,): (B, length) of bool."""
    place = torch.arange(length, device=first.device)
    return (place >= first[:, None]) & (place < first[:, None] + count)


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """A small array as a tensor on a device; on CUDA alone without waiting, which other devices do not bear."""
    return torch.from_numpy(values).to(device, non_blocking=device.type == "cuda")
