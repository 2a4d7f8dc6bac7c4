"""Adaptation is a plain loop; the network itself stays as it is."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import tiny_learner, tiny_params, unit_vectors

from oneshot.adaptation import adapter
from oneshot.adaptation.adapter import SOFT_SCALE, Adapter, Embedder
from oneshot.data.sampling import ClassPool, random_stream
from oneshot.model.losses import random_triplet_loss


def prepared(weights, steps, rate, **changes):
    """A learner, and what adapts its network."""
    names = {"adaptation.weights": weights, "adaptation.steps": steps, "adaptation.learning_rate": rate}
    params = tiny_params(names | changes)
    learner = tiny_learner(params)
    trained = Embedder(learner.network, learner.compute, "none")
    return learner, Adapter(params.adaptation, trained, trained, learner.store, params.loss.soft_scale)


def stream():
    return random_stream(3, "supports", 0)


class Fixed:
    """Stands for a frozen network: vectors, one for each row."""

    def __init__(self, vectors):
        self.vectors, self.network = vectors, SimpleNamespace(dimensions=vectors.shape[1])

    def __call__(self, store, rows):
        return self.vectors[rows]


@pytest.fixture
def pool():
    return ClassPool(list(np.arange(60).reshape(5, 12)))


@pytest.mark.parametrize("weights", ["map", "all"])
def test_the_network_stays_as_it_is(weights):
    learner, way = prepared(weights, 2, 0.1)
    before, rows = copy.deepcopy(learner.network.state_dict()), np.arange(9)
    frozen, adapted = (f(learner.store, rows) for f in (way.frozen, way.adapt(learner.pool, np.array([0]), stream())))
    assert all(torch.equal(value, before[name]) for name, value in learner.network.state_dict().items())
    assert torch.equal(way.frozen(learner.store, rows), frozen) and not torch.allclose(adapted, frozen)


@pytest.mark.parametrize(("classes", "supports"), [((0,), 12), ((0,), 1), ((0, 1, 2), 12)])
def test_a_map_is_plain_gradient_descent_from_the_identity(pool, classes, supports, monkeypatch):
    """A single support is its own positive."""
    pool = ClassPool([pool.images[0][:supports], *pool.images[1:]])
    monkeypatch.setattr(adapter, "BATCH", 60)
    vectors = unit_vectors(60)
    matrix = torch.eye(6)
    for batch in pool.triplet_batches(stream(), np.array(classes), 60, 3):
        gradient = torch.zeros(6, 6)
        anchors, positives, negatives = vectors[batch.images].chunk(3)
        for a, p, n in zip(anchors, positives, negatives, strict=True):
            gap = (matrix @ a) @ (matrix @ n) - (matrix @ a) @ (matrix @ p)
            slope = torch.sigmoid(SOFT_SCALE * gap)  # of the soft margin; below, of (Ma)'(M(n - p))
            gradient += slope * matrix @ (torch.outer(a, n - p) + torch.outer(n - p, a)) / len(anchors)
        matrix = matrix - 0.5 * gradient
        matrix *= 6**0.5 / matrix.norm()
    params = tiny_params({"adaptation.steps": 3, "adaptation.learning_rate": 0.5})
    way = Adapter(params.adaptation, Fixed(vectors), Fixed(vectors), None, 10.0)
    torch.testing.assert_close(way.adapt(pool, np.array(classes), stream()).matrix, matrix)


@pytest.mark.parametrize(("classes", "soft_scale"), [((0,), 10.0), ((0, 1, 2), 10.0), ((0,), 0.0)])
def test_all_weights_adapt_by_a_plain_loop_of_adam(classes, soft_scale, monkeypatch):
    """Without a first moment, with batch norm's statistics of training, and with a hinge where training had one."""
    monkeypatch.setattr(adapter, "BATCH", 60)
    learner, way = prepared("all", 3, 0.01, **{"loss.soft_scale": soft_scale})
    clone = way.adapt(learner.pool, np.array(classes), stream()).network

    rng, slow = stream(), copy.deepcopy(learner.network).eval()
    optimizer = torch.optim.Adam(slow.parameters(), lr=0.01, betas=(0.0, 0.999))
    for batch in learner.pool.triplet_batches(rng, np.array(classes), 60, 3):
        images = learner.store.augmented(batch.images, rng)
        loss = random_triplet_loss(slow(images), SOFT_SCALE if soft_scale else 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for ours, theirs in zip(clone.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    for ours, theirs in zip(clone.buffers(), learner.network.buffers(), strict=True):
        assert torch.equal(ours, theirs)
