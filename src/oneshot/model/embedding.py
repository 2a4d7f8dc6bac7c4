"""Embeddings of many images, with test-time augmentation: the mean over several views of an image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oneshot.model.network import SiameseNetwork

# Views: the image; its mirror image; both shifted by a sixteenth of the side, half of what training shifts, to each
# corner; both enlarged by a quarter.
Tta = Literal["none", "flip", "flip_shift", "flip_shift_zoom"]


@torch.no_grad()
def embed(network: SiameseNetwork, images: Tensor, tta: str = "none") -> Tensor:
    """Embed images (N, C, H, W) of uint8 in evaluation mode, as float32 unit vectors (N, D) on the CPU.

    Args:
        tta: test-time augmentation, a name in `Tta`. The normalised mean of the embeddings of all its views is taken.
    """
    network.eval()
    # A core's cache holds what 100 images become, which saves a fifth of the time; other devices want more at once.
    chunks = images.split(100 if images.device.type == "cpu" else 1000)
    return torch.cat([embed_views(network, chunk, tta).cpu() for chunk in chunks])


def embed_views(network: nn.Module, images: Tensor, tta: str) -> Tensor:
    """What `embed` does to a batch, and no more."""
    vectors = torch.stack([network(view) for view in _views(images, tta)]).sum(0)
    return F.normalize(vectors, dim=1) if tta != "none" else vectors


def _views(images: Tensor, tta: str) -> Iterator[Tensor]:
    """Each view of images (N, C, H, W) in turn; what is shifted in from outside is black, as in training."""
    height, width = images.shape[2:]
    reach = max(1, height // 16)
    corners = (0, 2 * reach)
    padded = F.pad(images, [reach] * 4)
    shifts = [(reach, reach)] + ([(down, right) for down in corners for right in corners] if "shift" in tta else [])
    views = [padded[:, :, down : down + height, right : right + width] for down, right in shifts]
    if "zoom" in tta:
        larger = (height + height // 4, width + width // 4)
        views.append(F.interpolate(images.float(), larger, mode="bicubic", antialias=True))
    for view in views:
        yield view
        if "flip" in tta:
            yield view.flip(3)
