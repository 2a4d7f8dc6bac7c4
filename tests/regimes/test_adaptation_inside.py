"""The map inside the training is the map of a test, and the gradient goes through its steps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from _episodes import QUERIES, WAYS, Measured
from adaptation_inside import SUPPORTS, AdaptingLearner
from torch.nn import functional as F

from oneshot.adaptation.adapter import AdaptationParams, Adapter, LinearMap
from oneshot.data.sampling import ClassPool

CLASSES, SIZE = 3, 6
ADAPTATION = AdaptationParams(shots=[], weights="map", steps=4, learning_rate=3.0)


def adapted(supports: torch.Tensor) -> torch.Tensor:
    learner = SimpleNamespace(adaptation=ADAPTATION)
    return AdaptingLearner.adapted(cast(Any, learner), supports, seed=7)


def unit_vectors(count: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, SIZE, generator=torch.Generator().manual_seed(1)), dim=1)


def adapter(vectors: torch.Tensor) -> Adapter:
    trained = cast(Any, SimpleNamespace(network=SimpleNamespace(dimensions=SIZE)))
    return Adapter(ADAPTATION, trained, lambda _, rows: vectors[rows], cast(Any, None), soft_scale=10.0)


def test_the_map_is_that_of_a_test() -> None:
    supports = unit_vectors(CLASSES * SUPPORTS)
    pool = ClassPool(list(np.arange(len(supports)).reshape(CLASSES, SUPPORTS)))
    found = adapter(supports).adapt(pool, np.arange(CLASSES), np.random.default_rng(7))
    assert isinstance(found, LinearMap)
    torch.testing.assert_close(adapted(supports), found.matrix, rtol=1e-4, atol=1e-5)
    assert (found.matrix - torch.eye(SIZE)).norm() > 0.1


def test_the_gradient_goes_through_all_steps() -> None:
    supports, direction = unit_vectors(CLASSES * SUPPORTS).requires_grad_(), unit_vectors(CLASSES * SUPPORTS)
    (slope,) = torch.autograd.grad(adapted(supports).square().sum(dim=0)[0], supports)
    ends = [adapted(supports.detach() + step * direction).square().sum(dim=0)[0] for step in (1e-2, -1e-2)]
    torch.testing.assert_close((slope * direction).sum(), (ends[0] - ends[1]) / 2e-2, rtol=2e-2, atol=1e-3)


def test_episodes_tell_classes_apart_that_lie_apart() -> None:
    vectors = torch.eye(WAYS).repeat_interleave(QUERIES, dim=0)
    measured = Measured.__new__(Measured)
    measured.vectors, measured.rows = vectors, list(np.arange(len(vectors)).reshape(WAYS, QUERIES))
    trained = cast(Any, SimpleNamespace(network=SimpleNamespace(dimensions=WAYS)))
    measured.adapter = Adapter(ADAPTATION, trained, measured._frozen, cast(Any, None), soft_scale=10.0)
    assert measured.accuracy(shots=5, episodes=2) == (1.0, 1.0)
    measured.vectors = torch.ones_like(vectors) / WAYS**0.5
    assert measured.accuracy(shots=1, episodes=2)[0] == pytest.approx(1 / WAYS)
