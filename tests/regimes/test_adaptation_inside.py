"""The map inside the training is the map of a test, and the gradient goes through its steps."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from _episodes import QUERIES, WAYS, Measured
from adaptation_inside import SUPPORTS, AdaptingLearner
from helpers import unit_vectors

from oneshot.adaptation.adapter import AdaptationParams, Adapter
from oneshot.data.sampling import ClassPool

CLASSES, SIZE = 3, 6
ADAPTATION = AdaptationParams(shots=[], weights="map", steps=4, learning_rate=3.0)


def adapted(supports):
    return AdaptingLearner.adapted(SimpleNamespace(adaptation=ADAPTATION), supports, seed=7)


def adapter(frozen, dimensions):
    trained = SimpleNamespace(network=SimpleNamespace(dimensions=dimensions))
    return Adapter(ADAPTATION, trained, frozen, None, soft_scale=10.0)


def test_the_map_is_that_of_a_test():
    supports = unit_vectors(CLASSES * SUPPORTS, SIZE, seed=1)
    pool = ClassPool(list(np.arange(len(supports)).reshape(CLASSES, SUPPORTS)))
    found = adapter(lambda _, rows: supports[rows], SIZE).adapt(pool, np.arange(CLASSES), np.random.default_rng(7))
    torch.testing.assert_close(adapted(supports), found.matrix, rtol=1e-4, atol=1e-5)
    assert (found.matrix - torch.eye(SIZE)).norm() > 0.1


def test_the_gradient_goes_through_all_steps():
    supports, direction = (unit_vectors(CLASSES * SUPPORTS, SIZE, seed=1) for _ in range(2))
    (slope,) = torch.autograd.grad(adapted(supports.requires_grad_()).square().sum(dim=0)[0], supports)
    ends = [adapted(supports.detach() + step * direction).square().sum(dim=0)[0] for step in (1e-2, -1e-2)]
    torch.testing.assert_close((slope * direction).sum(), (ends[0] - ends[1]) / 2e-2, rtol=2e-2, atol=1e-3)


def test_episodes_tell_classes_apart_that_lie_apart():
    vectors = torch.eye(WAYS).repeat_interleave(QUERIES, dim=0)
    measured = Measured.__new__(Measured)
    measured.vectors, measured.rows = vectors, list(np.arange(len(vectors)).reshape(WAYS, QUERIES))
    measured.adapter = adapter(measured._frozen, WAYS)
    assert measured.accuracy(shots=5, episodes=2) == (1.0, 1.0)
    measured.vectors = torch.ones_like(vectors) / WAYS**0.5
    assert measured.accuracy(shots=1, episodes=2)[0] == pytest.approx(1 / WAYS)
