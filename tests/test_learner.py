"""The objective that both trainings share, put together by hand."""

import numpy as np
import pytest
import torch
from helpers import tiny_learner, tiny_params

from oneshot.losses import batch_triplet_loss
from oneshot.sampling import Batch

CLASSES = np.array([3, 0, 2])  # a task's classes come in any order
BATCH = Batch(np.array([36, 37, 0, 1, 24, 25]), np.array([3, 3, 0, 0, 2, 2]))


def embeddings_of(learner):
    return learner.network(learner.store.batch(BATCH.images))


@pytest.mark.parametrize(("triplet", "identity"), [(1.0, 0.0), (0.0, 1.0), (0.5, 2.0)])
def test_loss_is_the_weighted_sum(triplet, identity):
    params = tiny_params(
        triplet_weight=triplet, identity_weight=identity, label_smoothing=0.1, augmentation="none", batch_size=6
    )
    learner = tiny_learner(params)
    found = learner.loss(BATCH, CLASSES, np.random.default_rng(0))

    vectors, expected = embeddings_of(learner), 0.0
    if triplet:
        expected = triplet * batch_triplet_loss(vectors, 3, params.triplet_margin, params.triplet_soft_scale, False)
    if identity:
        proxies = learner.proxies / learner.proxies.norm(dim=1, keepdim=True)
        logits = params.identity_scale * vectors @ proxies.T  # to every class of the pool
        for row, label in zip(logits, BATCH.labels, strict=True):
            logs = row[CLASSES].log_softmax(0)  # the task's classes alone compete
            right = logs[list(CLASSES).index(label)]
            expected = expected - identity * (0.9 * right + 0.1 * logs.mean()) / 6
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_proxies_learn_only_under_an_identity_loss():
    with_, without = tiny_learner(tiny_params()), tiny_learner(tiny_params(identity_weight=0.0))
    assert any(weight is with_.proxies for weight in with_.weights())
    assert not any(weight is without.proxies for weight in without.weights())
