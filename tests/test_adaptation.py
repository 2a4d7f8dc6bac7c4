"""Adaptation is a plain loop on a clone; the network itself stays as it is."""

import copy

import numpy as np
import pytest
import torch
from helpers import tiny_learner, tiny_params

from oneshot.adaptation import adapt
from oneshot.losses import random_triplet_loss
from oneshot.sampling import random_stream


def adapted(params, learner, classes=(0,), seed=3):
    rng = random_stream(seed, "supports", 0)
    return adapt(params, learner.compute, learner.network, learner.store, learner.pool, np.array(classes), rng)


def test_the_network_stays_as_it_is():
    params = tiny_params(adapt_learning_rate=0.01)
    learner = tiny_learner(params)
    before = copy.deepcopy(learner.network.state_dict())
    clone = adapted(params, learner)
    assert all(torch.equal(value, before[name]) for name, value in learner.network.state_dict().items())
    assert not torch.equal(clone.conv.weight, learner.network.conv.weight)


def test_statistics_of_batch_norm_are_frozen():
    params = tiny_params(adapt_learning_rate=0.01)
    learner = tiny_learner(params)
    assert torch.equal(adapted(params, learner).norm.running_mean, learner.network.norm.running_mean)


def test_no_steps_no_change():
    params = tiny_params(adapt_steps=0)
    learner = tiny_learner(params)
    clone = adapted(params, learner)
    for ours, theirs in zip(clone.parameters(), learner.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("classes", [(0,), (0, 1, 2)])
def test_same_as_a_plain_loop(classes):
    params = tiny_params(adapt_steps=3, adapt_learning_rate=0.01)
    learner = tiny_learner(params)
    clone = adapted(params, learner, classes)

    rng, slow = random_stream(3, "supports", 0), copy.deepcopy(learner.network).eval()
    optimizer = torch.optim.Adam(slow.parameters(), lr=0.01, betas=(0.0, 0.999))
    for batch in learner.pool.triplet_batches(rng, np.array(classes), params.adapt_batch_size, 3):
        loss = random_triplet_loss(
            slow(learner.store.augmented(batch.images, rng)), params.triplet_margin, params.triplet_soft_scale
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for ours, theirs in zip(clone.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_adaptation_lowers_the_loss_on_its_task():
    params = tiny_params(adapt_steps=40, adapt_learning_rate=0.003, augmentation="none")
    learner = tiny_learner(params)
    (batch,) = learner.pool.triplet_batches(random_stream(9, "supports", 0), np.array([0]), 300, 1)
    images = learner.store.batch(batch.images)
    clone = adapted(params, learner)
    with torch.no_grad():
        losses = [
            random_triplet_loss(network.eval()(images), params.triplet_margin, params.triplet_soft_scale).item()
            for network in (learner.network, clone)
        ]
    assert losses[1] < 0.9 * losses[0]
