"""The objective: cosine triplet losses, in three ways to choose triplets, and a softmax over identities.

Embeddings are float32 unit vectors, so cosine similarity is a dot product.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def triplet_penalty(similarity_gap: Tensor, margin: float, soft_scale: float) -> Tensor:
    """Penalty of cos(a, n) - cos(a, p), of any shape, elementwise.

    `soft_scale` 0 gives the hinge relu(gap + margin) (Schroff et al. 2015, eq. 3, with cosines);
    above 0 the soft margin softplus(soft_scale * gap) / soft_scale (Hermans et al. 2017, section 2).
    """
    if soft_scale:
        return F.softplus(soft_scale * similarity_gap) / soft_scale
    return F.relu(similarity_gap + margin)


def random_triplet_loss(embeddings: Tensor, margin: float, soft_scale: float) -> Tensor:
    """Mean penalty of the triplets (a_i, p_i, n_i), for embeddings (3B, D): anchors, positives, then negatives."""
    anchors, positives, negatives = embeddings.chunk(3)
    gap = (anchors * negatives).sum(1) - (anchors * positives).sum(1)
    return triplet_penalty(gap, margin, soft_scale).mean()


def batch_triplet_loss(embeddings: Tensor, classes: int, margin: float, soft_scale: float, hardest: bool) -> Tensor:
    """Triplets mined in a batch of `classes` classes with equally many images each, class after class.

    Args:
        embeddings: (classes * K, D), K >= 2.
        hardest: for each anchor only its farthest positive and nearest negative ('batch hard', Hermans
            et al. 2017, eq. 5); else the mean over every triplet of the batch ('batch all', eq. 6).
    """
    positive_index, negative_index = _pairs(classes, len(embeddings) // classes, embeddings.device)
    similarities = (embeddings @ embeddings.T).flatten()
    positives = similarities[positive_index]  # (B, K - 1)
    negatives = similarities[negative_index]  # (B, B - K)
    gap = negatives.amax(1) - positives.amin(1) if hardest else negatives[:, None] - positives[..., None]
    return triplet_penalty(gap, margin, soft_scale).mean()


def identity_loss(embeddings: Tensor, labels: Tensor, proxies: Tensor, scale: float, smoothing: float) -> Tensor:
    """Softmax cross-entropy over cosines to one learnt proxy a class ('normalised softmax', Wang et al. 2017, eq. 6).

    Args:
        embeddings: (B, D) unit vectors.
        labels: (B,) int64, rows of `proxies`.
        proxies: (classes, D), of any length.
        scale: inverse temperature.
        smoothing: label smoothing, 0..1.
    """
    logits = scale * embeddings @ F.normalize(proxies, dim=1).T
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


_PAIRS: dict[tuple[int, int, torch.device], tuple[Tensor, Tensor]] = {}


def _pairs(classes: int, per_class: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where each anchor's positives (B, K-1) and negatives (B, B-K) stand in the flattened (B, B) similarities."""
    key = (classes, per_class, device)
    if key not in _PAIRS:  # the same for every batch: computed once
        size = classes * per_class
        row = torch.arange(size)
        same = row[:, None] // per_class == row // per_class
        index = row[:, None] * size + row
        positives = index[same & ~torch.eye(size, dtype=torch.bool)].view(size, per_class - 1)
        _PAIRS[key] = positives.to(device), index[~same].view(size, size - per_class).to(device)
    return _PAIRS[key]
