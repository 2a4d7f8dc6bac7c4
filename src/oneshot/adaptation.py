"""Adaptation: a clone of a trained network takes a few steps on the support images of new classes."""

from __future__ import annotations

import copy

import numpy as np

from oneshot.compute import Compute
from oneshot.images import ImageStore
from oneshot.learner import make_optimizer
from oneshot.losses import random_triplet_loss
from oneshot.network import SiameseResNet
from oneshot.params import Params
from oneshot.sampling import ClassPool


def adapt(
    params: Params,
    compute: Compute,
    network: SiameseResNet,
    store: ImageStore,
    pool: ClassPool,
    classes: np.ndarray,
    rng: np.random.Generator,
) -> SiameseResNet:
    """A clone of `network` after `adapt_steps` steps of the triplet loss on a task; `network` stays as it is.

    Adam starts fresh and without momentum (beta1 = 0), as Nichol et al. 2018 (section 5) recommend, and
    batch norm uses the statistics of training: a handful of images has none worth having.

    Args:
        store: holds the images that `pool` names, with the training's augmentation.
        pool: images by class. Anchors and positives are of `classes`; negatives too where these are several
            (an N-way support set), else of all other classes in the pool (one class against the seen ones).
            A class with a single image pairs two augmentations of it.
    """
    clone = copy.deepcopy(network).eval()
    optimizer = make_optimizer(list(clone.parameters()), "adam", params.adapt_learning_rate, 0.0, 0.0)
    for batch in pool.triplet_batches(rng, classes, params.adapt_batch_size, params.adapt_steps):
        images = store.augmented(batch.images, rng)
        with compute.forward_precision():
            embeddings = clone(images)
        loss = random_triplet_loss(embeddings, params.triplet_margin, params.triplet_soft_scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return clone.requires_grad_(False)
