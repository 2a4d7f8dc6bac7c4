"""Adaptation: a clone of a trained network takes a few steps on the support images of new classes."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np

from oneshot.compute import Compute
from oneshot.images import ImageStore
from oneshot.learner import make_optimizer
from oneshot.losses import random_triplet_loss
from oneshot.network import SiameseNetwork
from oneshot.params import Params
from oneshot.sampling import ClassPool


class Pace(NamedTuple):
    """How far an adaptation goes: its number of steps, and the optimizer's learning rate."""

    steps: int
    learning_rate: float


def pace(params: Params, method: str, shots: int | None) -> Pace:
    """What `params` sets for a training (`classic` or `meta`) and a number of support images; None: all of a class."""
    place = len(params.adapt_shots) if shots is None else params.adapt_shots.index(shots)
    if method == "classic":
        return Pace(params.adapt_classic_steps[place], params.adapt_classic_learning_rate[place])
    return Pace(params.adapt_meta_steps[place], params.adapt_meta_learning_rate[place])


def adapt(
    params: Params,
    compute: Compute,
    network: SiameseNetwork,
    store: ImageStore,
    pool: ClassPool,
    classes: np.ndarray,
    rng: np.random.Generator,
    pace: Pace,
) -> SiameseNetwork:
    """A clone of `network` after `pace.steps` steps of the triplet loss on a task; `network` stays as it is.

    With no steps it is `network` itself.

    The optimizer starts fresh and without momentum, as Nichol et al. 2018 (section 5) recommend, and
    batch norm uses the statistics of training: a handful of images has none worth having.

    Args:
        store: holds the images that `pool` names, with the training's augmentation.
        pool: images by class. Anchors and positives are of `classes`; negatives too where these are several
            (an N-way support set), else of all other classes in the pool (one class against the seen ones).
            A class with a single image pairs two augmentations of it.
    """
    if not pace.steps:
        return network
    clone = copy.deepcopy(network).eval()
    optimizer = make_optimizer(list(clone.parameters()), params.adapt_optimizer, pace.learning_rate, 0.0, 0.0)
    for batch in pool.triplet_batches(rng, classes, params.adapt_batch_size, pace.steps):
        images = store.augmented(batch.images, rng)
        with compute.forward_precision():
            embeddings = clone(images)
        loss = random_triplet_loss(embeddings, params.triplet_margin, params.triplet_soft_scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return clone.requires_grad_(False)
