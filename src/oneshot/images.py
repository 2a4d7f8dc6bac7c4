"""All images as one uint8 tensor on the device; whole batches are cut out of it and augmented at once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


class ImageStore:
    """Images (N, H, W, C) of uint8 kept on a device as one tensor (N, C, H, W).

    Args:
        augmentation: `none`, `crop` (shifts of up to an eighth of the side, black border) or `crop_flip`.
    """

    def __init__(self, images: np.ndarray, device: torch.device, augmentation: str = "none") -> None:
        self.images = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(device)
        self.augmentation = augmentation

    def batch(self, indices: np.ndarray) -> Tensor:
        """The images at `indices` (B,), unchanged: (B, C, H, W) of uint8."""
        return self.images[to_device(indices, self.images.device)]

    def augmented(self, indices: np.ndarray, rng: np.random.Generator) -> Tensor:
        """The images at `indices` (B,), each shifted and mirrored by its own draw: (B, C, H, W) of uint8."""
        images = self.batch(indices)
        if self.augmentation == "none":
            return images
        count, _, height, width = images.shape
        reach = max(1, height // 8)
        windows = F.pad(images, [reach] * 4).unfold(2, height, 1).unfold(3, width, 1)
        shift = to_device(rng.integers(0, 2 * reach + 1, (2, count)), images.device)
        images = windows[torch.arange(count, device=images.device), :, shift[0], shift[1]]
        if self.augmentation == "crop_flip":
            mirrored = to_device(rng.integers(0, 2, count) > 0, images.device)
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        return images


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """A small array as a tensor on a device; on CUDA alone without waiting, which other devices do not bear."""
    return torch.from_numpy(values).to(device, non_blocking=device.type == "cuda")
