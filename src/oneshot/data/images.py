"""All images, of which whole batches are cut out and augmented at once, as uint8 tensors on the device."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from oneshot.data.sampling import Augmentation

# `elastic` looks up each point of a new image in the old one, whose sides are 2 long, by a map whose rows differ by up
# to REACH from the identity's: a shift of up to an eighth of a side. Then the points of a grid look up to BEND further.
REACH, BEND, GRID, STEPS = (0.2, 0.2, 0.25), 0.15, 5, 100  # all in so many steps to either side


class ImageStore:
    """Images (N, H, W, C) of uint8, as one tensor (N, C, H, W) on the device, where half of its free memory holds them.

    On the CPU they stay where they are, such as in a map of a file that is larger than memory.

    Args:
        augmentation: `none`, `crop` (shifts of up to an eighth of the side, black border), `crop_flip` (mirrored, too)
            or `crop_flip_cutout` (a black square of a third of the side, too; DeVries & Taylor 2017); `elastic` (shifts
            as well, each image turned or slanted, and stretched, by up to a fifth, and bent; Simard et al. 2003).
            `crop_flip_cutout_rotate` is `crop_flip_cutout` here: who knows the classes turns them.
    """

    def __init__(self, images: np.ndarray, device: torch.device, augmentation: Augmentation = "none") -> None:
        fits = device.type != "cuda" or 2 * images.nbytes <= torch.cuda.mem_get_info(device)[0]
        with warnings.catch_warnings(action="ignore"):  # torch warns of arrays that may not be written, as maps are
            self.images = torch.from_numpy(images).permute(0, 3, 1, 2).to(device if fits else "cpu")
        self.device = device
        self.reach = torch.tensor(REACH, device=device)  # once: a GPU that records a step takes no new numbers
        self.augmentation = augmentation

    def batch(self, indices: np.ndarray) -> Tensor:
        """The images at `indices` (B,), unchanged: (B, C, H, W) of uint8."""
        return self._at(torch.from_numpy(indices))

    def augmented(self, indices: np.ndarray, rng: np.random.Generator) -> Tensor:
        """The images at `indices` (B,), each augmented by its own draw: (B, C, H, W) of uint8."""
        return self.augment(to_device(self.draw(indices, rng), self.device))

    def draw(self, indices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """What decides the augmented images at `indices` (B,), in numbers (R, B) of int64 that `augment` reads.

        Rows: the index; its shift down and right; 1 where it is mirrored; top and left of the black square. With
        `elastic`: the index, the steps of the map's six numbers, and how far right, then down, the grid's points look.
        """
        count, side = len(indices), self.images.shape[2]
        rows = [indices[None]]
        if self.augmentation == "elastic":
            return np.concatenate([*rows, rng.integers(-STEPS, STEPS + 1, (6 + 2 * GRID * GRID, count))])
        if self.augmentation != "none":
            rows.append(rng.integers(0, 2 * max(1, side // 8) + 1, (2, count)))
        if self.augmentation.startswith("crop_flip"):
            rows.append(rng.integers(0, 2, (1, count)))
        if self.augmentation.startswith("crop_flip_cutout"):
            hole = max(1, side // 3)
            # Its centre lies anywhere in the image, so that parts of the square may lie outside.
            rows.append(rng.integers(-(hole // 2), side - hole // 2, (2, count)))
        return np.concatenate(rows)

    def augment(self, draws: Tensor) -> Tensor:
        """The augmented images (B, C, H, W) of uint8 that `draw` decided."""
        images = self._at(draws[0])
        if self.augmentation == "none":
            return images
        if self.augmentation == "elastic":
            maps, bends = (draws[1:].T / STEPS).split([6, 2 * GRID * GRID], dim=1)
            maps = torch.eye(2, 3, device=self.device) + maps.reshape(-1, 2, 3) * self.reach
            bends = BEND * bends.reshape(-1, 2, GRID, GRID)
            bends = F.interpolate(bends, images.shape[2:], mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
            with torch.autocast(self.device.type, enabled=False):  # places in bfloat16 would be off by half a pixel
                grid = F.affine_grid(maps, list(images.shape), align_corners=False) + bends
            return F.grid_sample(images.float(), grid, align_corners=False).round().to(torch.uint8)
        count, _, height, width = images.shape
        windows = F.pad(images, [max(1, height // 8)] * 4).unfold(2, height, 1).unfold(3, width, 1)
        images = windows[torch.arange(count, device=images.device), :, draws[1], draws[2]]
        if self.augmentation.startswith("crop_flip"):
            images = torch.where(draws[3, :, None, None, None] > 0, images.flip(3), images)
        if self.augmentation.startswith("crop_flip_cutout"):
            hole = max(1, height // 3)
            rows, columns = _covered(draws[4], hole, height), _covered(draws[5], hole, width)
            images = images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)
        return images

    def _at(self, indices: Tensor) -> Tensor:
        return self.images[indices.to(self.images.device)].to(self.device)


def rotated(images: Tensor, turns: Tensor) -> Tensor:
    """Images (B, C, H, H), each turned by `turns` (B,) right angles, 0..3."""
    for number in (1, 2, 3):
        images = torch.where((turns == number)[:, None, None, None], images.rot90(number, (2, 3)), images)
    return images


def _covered(first: Tensor, count: int, length: int) -> Tensor:
    """Which of `length` places are among the `count` that begin at `first` (B,): (B, length) of bool."""
    place = torch.arange(length, device=first.device)
    return (place >= first[:, None]) & (place < first[:, None] + count)


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """A small array as a tensor on a device; on CUDA alone without waiting, which other devices do not bear."""
    return torch.from_numpy(values).to(device, non_blocking=device.type == "cuda")
