"""The Siamese network: one network with one set of weights embeds both pictures of a pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from oneshot.common.params import Float, Group, Int, Positive
from oneshot.model.resnet import ResNet

Channels = Annotated[Int, Field(ge=4, le=2048)]
Members = Annotated[Int, Field(ge=1, le=16)]


class NetworkShape(Group):
    """The layers of a network, as `ResNet` and `SiameseNetwork` describe them."""

    stem: Channels
    widths: Annotated[list[Channels], Field(min_length=1, max_length=5)]
    blocks: Annotated[Int, Field(ge=1, le=100)]
    first_stride: Annotated[Int, Field(ge=1, le=2)]
    embedding_norm: bool


class NetworkParams(NetworkShape):
    """The group `network`."""

    members: Members
    start_from: Annotated[str, Field(min_length=1)]

    def mistakes(self, params: Any) -> Iterator[tuple[str, str]]:
        """See `Group`."""
        if (widths := [self.stem, *self.widths]) != sorted(widths):
            yield "widths", f"must not fall, from network.stem {self.stem} on"


class NetworkConfig(NetworkShape):
    """All that a `SiameseNetwork` is made from, beside its weights.

    `mean`, `std` are of the training images, one value a channel, in units of 0..255; `members`: networks in all.
    """

    mean: Annotated[list[Float], Field(min_length=1, max_length=3)]
    std: Annotated[list[Positive], Field(min_length=1, max_length=3)]
    members: Members = 1


class SiameseNetwork(nn.Module):
    """Images to unit vectors: normalisation, a ResNet, and, if asked for, a batch norm of its features.

    That batch norm lets features be negative, so that unlike pictures can be further apart than a right
    angle ('BNNeck', Luo et al. 2019, "Bag of Tricks and a Strong Baseline for Deep Person Re-identification").

    An ensemble is such a network and `others` like it: their vectors stand side by side, so that its similarity is the
    mean of theirs.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config.model_copy(update={"members": 1})
        self.register_buffer("mean", torch.tensor(config.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, -1, 1, 1), persistent=False)
        self.backbone = ResNet(len(config.mean), config.stem, config.widths, config.blocks, config.first_stride)
        self.dimensions = self.backbone.features
        self.embedding_norm = nn.BatchNorm1d(self.dimensions) if config.embedding_norm else nn.Identity()
        self.others = nn.ModuleList()
        self.put_beside([SiameseNetwork(self.config) for _ in range(config.members - 1)])

    def put_beside(self, others: Sequence[SiameseNetwork]) -> None:
        """Make this network and `others`, of its shape, an ensemble, in place."""
        if others:
            self.others.extend(others)
            self.dimensions += sum(other.dimensions for other in others)
            self.config = self.config.model_copy(update={"members": 1 + len(self.others)})

    def forward(self, images: Tensor) -> Tensor:
        """Embed images (B, C, H, W) of uint8 or float32, 0..255, as float32 unit vectors (B, dimensions)."""
        x = ((images.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        vectors = F.normalize(self.embedding_norm(self.backbone(x)).float(), dim=1)
        if not self.others:
            return vectors
        return torch.cat([vectors, *(other(images) for other in self.others)], 1) / (1 + len(self.others)) ** 0.5


def new_network(params: NetworkParams, mean: Sequence[float], std: Sequence[float]) -> SiameseNetwork:
    """A network as `params` describes it, with random weights. `mean`, `std`: as for `NetworkConfig`."""
    shape = params.model_dump(exclude={"start_from"})
    return SiameseNetwork(NetworkConfig(**shape, mean=list(mean), std=list(std)))


def batch_norms(network: nn.Module) -> list[nn.BatchNorm1d | nn.BatchNorm2d]:
    """The batch-norm layers of a network, in order."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
