"""Adaptation is a plain loop on a clone; the network itself stays as it is."""

import copy

import numpy as np
import pytest
import torch
from helpers import tiny_learner, tiny_params
from torch.nn import functional as F

from oneshot.adaptation import Pace, adapt_metric, adapt_network, pace
from oneshot.losses import random_triplet_loss
from oneshot.sampling import ClassPool, random_stream


def adapted(params, learner, classes=(0,), seed=3, steps=2, rate=0.1):
    rng, pool = random_stream(seed, "supports", 0), learner.pool
    how_far = Pace(steps, rate)
    return adapt_network(params, learner.compute, learner.network, learner.store, pool, np.array(classes), rng, how_far)


def test_the_network_stays_as_it_is():
    params = tiny_params()
    learner = tiny_learner(params)
    before = copy.deepcopy(learner.network.state_dict())
    clone = adapted(params, learner)
    assert all(torch.equal(value, before[name]) for name, value in learner.network.state_dict().items())
    assert not torch.equal(clone.backbone.conv.weight, learner.network.backbone.conv.weight)


def test_statistics_of_batch_norm_are_frozen():
    params = tiny_params()
    learner = tiny_learner(params)
    found, expected = (network.backbone.norm.running_mean for network in (adapted(params, learner), learner.network))
    assert torch.equal(found, expected)


def unit_vectors(learner, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = sum(len(rows) for rows in learner.pool.images)
    return F.normalize(torch.randn(rows, 6, generator=generator) + torch.randn(6, generator=generator), dim=1)


@pytest.mark.parametrize("classes", [(0,), (0, 1, 2)])
def test_metric_is_plain_gradient_descent_from_the_identity(classes):
    params = tiny_params()
    learner = tiny_learner(params)
    vectors, pool = unit_vectors(learner), learner.pool
    found = adapt_metric(
        params, vectors.__getitem__, 6, pool, np.array(classes), random_stream(3, "supports", 0), Pace(3, 0.5)
    ).matrix
    matrix = torch.eye(6)
    for batch in pool.triplet_batches(random_stream(3, "supports", 0), np.array(classes), params.adapt_batch_size, 3):
        gradient = torch.zeros(6, 6)
        anchors, positives, negatives = vectors[batch.images].chunk(3)
        for a, p, n in zip(anchors, positives, negatives, strict=True):
            gap = (matrix @ a) @ (matrix @ n) - (matrix @ a) @ (matrix @ p)
            slope = torch.sigmoid(params.adapt_soft_scale * gap)  # of the soft margin; below, of (Ma)'(M(n - p))
            gradient += slope * matrix @ (torch.outer(a, n - p) + torch.outer(n - p, a)) / len(anchors)
        matrix = matrix - 0.5 * gradient
        matrix *= 6**0.5 / matrix.norm()
    torch.testing.assert_close(found, matrix)


def test_a_single_support_teaches_a_metric_its_direction():
    """A support that is its own positive: its direction, less that of the negatives, counts for more afterwards."""
    params = tiny_params(adapt_batch_size=300)
    learner = tiny_learner(params)
    pool = ClassPool([learner.pool.images[0][:1], *learner.pool.images[1:]])
    vectors = unit_vectors(learner)
    metric = adapt_metric(
        params, vectors.__getitem__, 6, pool, np.array([0]), random_stream(3, "supports", 0), Pace(20, 1.0)
    )
    support, rest = vectors[pool.images[0]], vectors[np.concatenate(pool.images[1:])]
    before, after = rest @ support.T, metric(rest) @ metric(support).T
    assert after.mean() < before.mean() - 0.05
    assert metric(rest).norm(dim=1).allclose(torch.ones(len(rest)))


@pytest.mark.parametrize("classes", [(0,), (0, 1, 2)])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_same_as_a_plain_loop(classes, kind):
    params = tiny_params(adapt_optimizer=kind)
    learner = tiny_learner(params)
    clone = adapted(params, learner, classes, steps=3, rate=0.01)

    rng, slow = random_stream(3, "supports", 0), copy.deepcopy(learner.network).eval()
    optimizer = torch.optim.SGD(slow.parameters(), lr=0.01)
    if kind == "adam":
        optimizer = torch.optim.Adam(slow.parameters(), lr=0.01, betas=(0.0, 0.999))
    for batch in learner.pool.triplet_batches(rng, np.array(classes), params.adapt_batch_size, 3):
        loss = random_triplet_loss(
            slow(learner.store.augmented(batch.images, rng)), params.triplet_margin, params.adapt_soft_scale
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for ours, theirs in zip(clone.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_adaptation_lowers_the_loss_on_its_task():
    params = tiny_params(adapt_optimizer="adam", augmentation="none")
    learner = tiny_learner(params)
    (batch,) = learner.pool.triplet_batches(random_stream(9, "supports", 0), np.array([0]), 300, 1)
    images = learner.store.batch(batch.images)
    clone = adapted(params, learner, steps=40, rate=0.003)
    with torch.no_grad():
        losses = [
            random_triplet_loss(network.eval()(images), params.triplet_margin, params.adapt_soft_scale).item()
            for network in (learner.network, clone)
        ]
    assert losses[1] < 0.9 * losses[0]


def test_each_training_and_number_of_supports_has_its_own_pace():
    params = tiny_params(
        adapt_classic_steps=[1, 2, 3], adapt_meta_steps=[4, 5, 6], adapt_meta_learning_rate=[0.1, 0.2, 0.3]
    )
    assert [pace(params, "classic", shots).steps for shots in (1, 5, None)] == [1, 2, 3]
    assert [pace(params, "meta", shots) for shots in (1, 5, None)] == [(4, 0.1), (5, 0.2), (6, 0.3)]
