"""The objective: cosine triplet losses, in three ways to choose triplets, and a normalized softmax over classes.

Embeddings are float32 unit vectors, so cosine similarity is a dot product. A loss is a module with its own weights, if
it has any; `make_losses` lists those that the parameters ask for, and their sum is what a training follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from oneshot.common.params import Float, Group, Positive, Weight

MARGIN = 0.3  # of the hinge: the reference's


class LossParams(Group):
    """The group `loss`."""

    triplet_weight: Weight
    mining: Literal["random", "all", "hard"]
    soft_scale: Weight
    softmax_weight: Weight
    softmax_scale: Positive
    weight_decay: Annotated[Float, Field(ge=0, le=1)]  # more than 1 lets weights grow at common learning rates

    def mistakes(self, params: Any) -> Iterator[tuple[str, str]]:
        """See `Group`."""
        if not self.triplet_weight and not self.softmax_weight:
            yield "triplet_weight", "must be above 0 where loss.softmax_weight is 0: nothing else is learnt"


def make_losses(params: LossParams, classes: int, dimensions: int) -> nn.ModuleList:
    """The losses with a weight above 0, for so many seen classes and dimensions of embeddings.

    Each is called with these, the tensors on one device, and returns a scalar:
        embeddings: (B, D).
        labels: (B,) int64, the class of each image as a position in `classes`.
        classes: (N,) int64, the classes of the task as rows of the proxies.
        in_batch: how many classes a batch for mining holds, class after class with equally many images each.
    """
    losses = nn.ModuleList()
    if params.triplet_weight:
        losses.append(TripletLoss(params))
    if params.softmax_weight:
        losses.append(SoftmaxLoss(params, classes, dimensions))
    return losses


class TripletLoss(nn.Module):
    """Triplets of a batch by the way of mining that `params` name, times their weight."""

    def __init__(self, params: LossParams) -> None:
        super().__init__()
        self.params = params

    def forward(self, embeddings: Tensor, labels: Tensor, classes: Tensor, in_batch: int) -> Tensor:
        """See `make_losses`; random triplets are laid out as `sampling.Batch` says.

        `all` is the mean over every triplet of the batch ('batch all', Hermans et al. 2017, eq. 6); `hard` takes for
        each anchor its farthest positive and nearest negative alone ('batch hard', eq. 5).
        """
        p = self.params
        if p.mining == "random":
            return p.triplet_weight * random_triplet_loss(embeddings, p.soft_scale)
        positive_index, negative_index = _pairs(in_batch, len(embeddings) // in_batch, embeddings.device)
        similarities = (embeddings @ embeddings.T).flatten()
        positives = similarities[positive_index]  # (B, K - 1)
        negatives = similarities[negative_index]  # (B, B - K)
        hard = p.mining == "hard"
        gap = negatives.amax(1) - positives.amin(1) if hard else negatives[:, None] - positives[..., None]
        return p.triplet_weight * triplet_penalty(gap, p.soft_scale).mean()


class SoftmaxLoss(nn.Module):
    """Normalized softmax over cosines to one learnt proxy a class (Wang et al. 2017, "NormFace", eq. 6).

    It decides among the classes of the task alone. `softmax_scale` is its inverse temperature.
    """

    def __init__(self, params: LossParams, classes: int, dimensions: int) -> None:
        super().__init__()
        self.params = params
        self.proxies = nn.Parameter(torch.randn(classes, dimensions))

    def forward(self, embeddings: Tensor, labels: Tensor, classes: Tensor, in_batch: int) -> Tensor:
        """See `make_losses`."""
        p = self.params
        return p.softmax_weight * normalized_softmax(embeddings, labels, self.proxies[classes], p.softmax_scale)


def triplet_penalty(similarity_gap: Tensor, soft_scale: float) -> Tensor:
    """Penalty of cos(a, n) - cos(a, p), of any shape, elementwise.

    `soft_scale` 0 gives the hinge relu(gap + MARGIN) (Schroff et al. 2015, eq. 3, with cosines);
    above 0 the soft margin softplus(soft_scale * gap) / soft_scale (Hermans et al. 2017, section 2).
    """
    if soft_scale:
        return F.softplus(soft_scale * similarity_gap) / soft_scale
    return F.relu(similarity_gap + MARGIN)


def random_triplet_loss(embeddings: Tensor, soft_scale: float) -> Tensor:
    """Mean penalty of the triplets (a_i, p_i, n_i), for embeddings (3B, D): anchors, positives, then negatives."""
    anchors, positives, negatives = embeddings.chunk(3)
    gap = (anchors * negatives).sum(1) - (anchors * positives).sum(1)
    return triplet_penalty(gap, soft_scale).mean()


def normalized_softmax(embeddings: Tensor, labels: Tensor, proxies: Tensor, scale: float) -> Tensor:
    """Softmax cross-entropy over cosines to one proxy a class; a scalar.

    Args:
        embeddings: (B, D) unit vectors.
        labels: (B,) int64, rows of `proxies`.
        proxies: (classes, D), of any length.
        scale: inverse temperature.
    """
    return F.cross_entropy(scale * embeddings @ F.normalize(proxies, dim=1).T, labels)


@cache  # the same for every batch
def _pairs(classes: int, per_class: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where each anchor's positives (B, K-1) and negatives (B, B-K) stand in the flattened (B, B) similarities."""
    size = classes * per_class
    row = torch.arange(size)
    same = row[:, None] // per_class == row // per_class
    index = row[:, None] * size + row
    positives = index[same & ~torch.eye(size, dtype=torch.bool)].view(size, per_class - 1)
    return positives.to(device), index[~same].view(size, size - per_class).to(device)
