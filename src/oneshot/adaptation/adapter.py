"""A trained network takes a few steps on the support images of classes that it has not seen.

Either a linear map of its embeddings learns, from the identity on, over a frozen network ("almost no inner loop", Raghu
et al. 2020), or all its weights do, as the reference's did. Few images can teach a map, but spoil a network.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from oneshot.common.params import Count, Group, Int, Positive
from oneshot.data.images import ImageStore
from oneshot.data.sampling import ClassPool
from oneshot.hardware.device import Compute
from oneshot.model.embedding import Tta, embed
from oneshot.model.losses import random_triplet_loss
from oneshot.model.network import SiameseNetwork
from oneshot.model.optimizers import make_optimizer, normalize_weight

BATCH = 768  # images in a step: anchors, positives, negatives
SOFT_SCALE = 3.0  # of the triplet loss where training has a soft margin; where that has a hinge, adaptation has one too


class AdaptationParams(Group):
    """The group `adaptation`."""

    shots: Annotated[list[Count], Field(max_length=8)]
    weights: Literal["map", "all"]
    steps: Annotated[Int, Field(ge=0, le=10**4)]
    learning_rate: Positive

    def mistakes(self, params: Any) -> Iterator[tuple[str, str]]:
        """See `Group`."""
        most = params.training_images - params.split.calibration_images
        if max(self.shots, default=0) > most:
            yield "shots", f"each must be at most {most}"
        if len(set(self.shots)) != len(self.shots):
            yield "shots", "must not repeat a number"


# The embeddings (N, D), unit vectors on the CPU, of the images in a store at rows (N,).
Embed = Callable[[ImageStore, np.ndarray], Tensor]


@dataclass(frozen=True)
class Embedder:
    """Embeddings by a network, computed each time."""

    network: SiameseNetwork
    compute: Compute
    tta: Tta

    def __call__(self, store: ImageStore, rows: np.ndarray) -> Tensor:
        """See `Embed`."""
        with self.compute.forward_precision():
            return embed(self.network, store.batch(rows), self.tta)


class LinearMap:
    """Embeddings by a frozen network, mapped by a matrix (D, D) and normalised again."""

    def __init__(self, frozen: Embed, matrix: Tensor) -> None:
        self.frozen, self.matrix = frozen, matrix

    def __call__(self, store: ImageStore, rows: np.ndarray) -> Tensor:
        """See `Embed`."""
        return F.normalize(self.frozen(store, rows) @ self.matrix.T, dim=1)


class Adapter:
    """Adapts the network of `trained`, which stays as it is.

    Args:
        frozen: its embeddings, without computing them again for each adaptation.
        store: the images that supports are taken from, with the training's augmentation.
        soft_scale: of the training's triplet loss.
    """

    def __init__(
        self, params: AdaptationParams, trained: Embedder, frozen: Embed, store: ImageStore, soft_scale: float
    ) -> None:
        self.params, self.trained, self.frozen, self.store = params, trained, frozen, store
        self.soft_scale = SOFT_SCALE if soft_scale else 0.0

    def adapt(self, pool: ClassPool, classes: np.ndarray, rng: np.random.Generator) -> Embed:
        """What embeds after the steps that the parameters ask for.

        Args:
            pool: images by class. A class with a single image pairs two augmentations of it.
            classes: positions in the pool, of anchors and positives. Negatives are of these too where they are several
                (an N-way support set), else of all others in the pool (one class against the seen ones).
        """
        if not self.params.steps:
            return self.frozen
        way = self._linear_map if self.params.weights == "map" else self._all_weights
        return way(pool, classes, rng)

    def _linear_map(self, pool: ClassPool, classes: np.ndarray, rng: np.random.Generator) -> Embed:
        """The triplets compare plain dot products of mapped vectors. Between unit vectors, one support image that is
        its own positive could not come closer to itself; here it teaches the map which direction matters."""
        matrix = torch.eye(self.trained.network.dimensions, requires_grad=True)

        def embed_mapped(rows: np.ndarray) -> Tensor:
            once, places = np.unique(rows, return_inverse=True)  # few supports are drawn often, and mapped once
            return F.embedding(torch.from_numpy(places), self.frozen(self.store, once) @ matrix.T)

        for _ in self._steps([matrix], "sgd", embed_mapped, pool, classes, rng):
            normalize_weight(matrix)  # cosines do not mind, and it cannot grow without bound
        return LinearMap(self.frozen, matrix.detach())

    def _all_weights(self, pool: ClassPool, classes: np.ndarray, rng: np.random.Generator) -> Embed:
        """Batch norm uses the statistics of training: a handful of images has none worth having."""
        clone, compute = copy.deepcopy(self.trained.network).eval(), self.trained.compute

        def embed_augmented(rows: np.ndarray) -> Tensor:
            images = self.store.augmented(rows, rng)
            with compute.forward_precision():
                return clone(images)

        for _ in self._steps(list(clone.parameters()), "adam", embed_augmented, pool, classes, rng):
            pass
        return Embedder(clone.requires_grad_(False), compute, self.trained.tta)

    def _steps(
        self,
        weights: Sequence[Tensor],
        optimizer_name: Literal["sgd", "adam"],
        embed_rows: Callable[[np.ndarray], Tensor],
        pool: ClassPool,
        classes: np.ndarray,
        rng: np.random.Generator,
    ) -> Iterator[None]:
        """Take steps on random triplets; no momentum, as Nichol et al. 2018 (section 5) recommend."""
        optimizer = make_optimizer(weights, optimizer_name, self.params.learning_rate, 0.0, 0.0)
        for batch in pool.triplet_batches(rng, classes, BATCH, self.params.steps):
            loss = random_triplet_loss(embed_rows(batch.images), self.soft_scale)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield
