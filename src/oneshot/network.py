"""The Siamese network: a ResNet for small images (He et al. 2016, section 4.2) that ends in an embedding.

'Siamese' means that one network with one set of weights embeds both pictures of a pair.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oneshot.errors import UserError
from oneshot.files import write_bytes


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut without parameters ('option A': subsample, pad with zero channels)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.padding = channels - channels_in

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.stride > 1 or self.padding:
            half = self.padding // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.padding - half))
        return F.relu(y + x)


class SiameseResNet(nn.Module):
    """ResNet of `depth` = 6n + 2 layers less the last, from images to unit vectors.

    Args:
        depth: 8, 14, 20, 32, ...; the reference's is 56.
        width: channels of the first stage; the second and third have 2 and 4 times as many.
        mean, std: of the training images, one value a channel, in units of 0..255.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, depth: int, width: int, mean: Iterable[float], std: Iterable[float]) -> None:
        super().__init__()
        mean, std = list(mean), list(std)
        self.config = {"depth": depth, "width": width, "mean": mean, "std": std}
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.conv = nn.Conv2d(len(mean), width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        blocks, channels = [], width
        for stage in range(3):
            for block in range((depth - 2) // 6):
                out = width * 2**stage
                blocks.append(ResidualBlock(channels, out, stride=2 if stage and block == 0 else 1))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.dimensions = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Embed images (B, C, H, W) of uint8, 0..255, as float32 unit vectors (B, 4 * width)."""
        x = ((images.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        x = self.blocks(F.relu(self.norm(self.conv(x))))
        return F.normalize(x.float().mean(dim=(2, 3)), dim=1)


def batch_norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """The batch-norm layers of a network, in order."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


@torch.no_grad()
def estimate_batch_norm(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the batch-norm statistics to their plain average over image batches (B, C, H, W).

    Weights that were averaged or interpolated have no statistics of their own, and those of the last
    task describe that task only: so they are measured again on batches of mixed classes.
    """
    layers = batch_norms(network)
    momenta = [layer.momentum for layer in layers]
    was_training = network.training
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's way to ask for the plain average instead of a moving one
    network.train()
    for images in batches:
        network(images)
    network.train(was_training)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


@torch.no_grad()
def embed(network: SiameseResNet, images: Tensor, flip_average: bool, batch: int = 500) -> Tensor:
    """Embed images (N, C, H, W) of uint8 in evaluation mode, as float32 unit vectors (N, D) on the CPU.

    Args:
        flip_average: embed each image and its mirror image, and take the normalised mean.
    """
    network.eval()
    vectors = []
    for chunk in images.split(batch):
        vector = network(chunk)
        if flip_average:
            vector = F.normalize(vector + network(chunk.flip(3)), dim=1)
        vectors.append(vector.cpu())
    return torch.cat(vectors)


def save_model(path: str | Path, network: SiameseResNet, about: dict[str, Any]) -> None:
    """Write the network and `about` (plain values) in a file that `load_model` reads on any machine."""
    state = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    buffer = io.BytesIO()  # saving to a path would put the path's name into the bytes
    torch.save({"config": network.config, "state": state, "about": about}, buffer)
    write_bytes(path, buffer.getvalue())


def load_model(path: str | Path, device: torch.device | str = "cpu") -> tuple[SiameseResNet, dict[str, Any]]:
    """Read what `save_model` wrote; code inside the file is never run.

    Raises:
        UserError: the file is missing or is not such a model.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        network = SiameseResNet(**saved["config"])
        network.load_state_dict(saved["state"])
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run `dvc repro`, which trains it") from None
    except Exception as error:  # torch raises many kinds for a broken file
        raise UserError(f"{path}: not a model of this project ({type(error).__name__}); train it again") from None
    return network.to(device).to(memory_format=torch.channels_last).eval(), saved["about"]


def channel_statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of images (N, H, W, C), in units of 0..255."""
    counts = [np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(images.shape[3])]
    values = np.arange(256)
    means = [float((values * count).sum() / count.sum()) for count in counts]
    variances = [
        float((values**2 * count).sum() / count.sum()) - mean**2 for mean, count in zip(means, counts, strict=True)
    ]
    return means, [max(variance, 1.0) ** 0.5 for variance in variances]  # a constant channel divides by 1
