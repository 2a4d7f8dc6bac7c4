"""Adaptation: a clone of a trained network takes a few steps on the support images of new classes.

Either all its weights move, as the reference's did, or a linear map of its embeddings alone, from the identity on,
over a frozen network ("almost no inner loop", Raghu et al. 2020). Few images can teach a map, but spoil a network.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from oneshot.compute import Compute
from oneshot.images import ImageStore
from oneshot.losses import random_triplet_loss
from oneshot.network import SiameseNetwork
from oneshot.optimizers import make_optimizer, scale_rows
from oneshot.params import Params
from oneshot.sampling import ClassPool


class Pace(NamedTuple):
    """How far an adaptation goes: its number of steps, and the optimizer's learning rate."""

    steps: int
    learning_rate: float


class Metric(NamedTuple):
    """A linear map (D, D) of embeddings; the cosine is taken between mapped ones."""

    matrix: Tensor

    def __call__(self, vectors: Tensor) -> Tensor:
        """Unit vectors (N, D) of embeddings (N, D)."""
        return F.normalize(vectors @ self.matrix.T, dim=1)


Clone = SiameseNetwork | Metric


def pace(params: Params, method: str, shots: int | None) -> Pace:
    """What `params` sets for a training (`classic` or `meta`) and a number of support images; None: all of a class."""
    place = len(params.adapt_shots) if shots is None else params.adapt_shots.index(shots)
    if method == "classic":
        return Pace(params.adapt_classic_steps[place], params.adapt_classic_learning_rate[place])
    return Pace(params.adapt_meta_steps[place], params.adapt_meta_learning_rate[place])


def adapt_network(
    params: Params,
    compute: Compute,
    network: SiameseNetwork,
    store: ImageStore,
    pool: ClassPool,
    classes: np.ndarray,
    rng: np.random.Generator,
    pace: Pace,
) -> SiameseNetwork:
    """A clone of `network`, all of whose weights took `pace.steps` steps; `network` stays as it is.

    Batch norm uses the statistics of training: a handful of images has none worth having.

    Args:
        store: holds the images that `pool` names, with the training's augmentation.
        pool: images by class. Anchors and positives are of `classes`; negatives too where these are several
            (an N-way support set), else of all other classes in the pool (one class against the seen ones).
            A class with a single image pairs two augmentations of it.
    """
    clone = copy.deepcopy(network).eval()

    def embed(rows: np.ndarray) -> Tensor:
        images = store.augmented(rows, rng)
        with compute.forward_precision():
            return clone(images)

    for _ in _steps(params, list(clone.parameters()), embed, pool, classes, rng, pace):
        pass
    return clone.requires_grad_(False)


def adapt_metric(
    params: Params,
    vectors: Callable[[np.ndarray], Tensor],
    dimensions: int,
    pool: ClassPool,
    classes: np.ndarray,
    rng: np.random.Generator,
    pace: Pace,
) -> Metric:
    """A linear map of embeddings that took `pace.steps` steps from the identity on.

    The triplets compare plain dot products of mapped vectors. Between unit vectors, one support image that is its
    own positive could not come closer to itself; here it teaches the map which direction matters.

    Args:
        vectors: gives the embeddings (len(rows), dimensions) of images that `pool` names, by the frozen network.
        pool, classes: as for `adapt_network`.
    """
    matrix = torch.eye(dimensions, requires_grad=True)
    for _ in _steps(params, [matrix], lambda rows: vectors(rows) @ matrix.T, pool, classes, rng, pace):
        scale_rows(matrix)  # cosines do not mind, and it cannot grow without bound
    return Metric(matrix.detach())


def _steps(
    params: Params,
    weights: list[Tensor],
    embed: Callable[[np.ndarray], Tensor],
    pool: ClassPool,
    classes: np.ndarray,
    rng: np.random.Generator,
    pace: Pace,
) -> Iterator[None]:
    """Take steps of the triplet loss on random triplets; no momentum, as Nichol et al. 2018 (section 5) recommend."""
    optimizer = make_optimizer(weights, params.adapt_optimizer, pace.learning_rate, 0.0, 0.0)
    for batch in pool.triplet_batches(rng, classes, params.adapt_batch_size, pace.steps):
        loss = random_triplet_loss(embed(batch.images), params.triplet_margin, params.adapt_soft_scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield
