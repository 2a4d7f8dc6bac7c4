"""What is fast computes what the plain form computes: losses and gradients, up to the rounding of the precision."""

import numpy as np
import pytest
import torch
from helpers import tiny_learner, tiny_params
from reference_way import ReferenceLoop
from timing import side_by_side, spread
from torch.nn import functional as F
from training import Plain, Trainers

from oneshot.data.sampling import Batch, random_stream
from oneshot.data.split import make_split

RANDOM = {"loss.mining": "random", "loss.soft_scale": 0.0, "loss.softmax_weight": 0.0, "batch.augmentation": "none"}
TRIPLETS = Batch(np.array([0, 1, 12, 13, 5, 6, 20, 14, 30, 40, 50, 2]), np.array([0, 0, 1, 1, 0, 0, 1, 1, 2, 3, 4, 0]))


def loss_and_gradients(learner, batch=TRIPLETS):
    learner.zero_grad()
    loss = learner.loss(learner.inputs(batch, np.unique(batch.labels), np.random.default_rng(0)))
    loss.backward()
    return loss.item(), torch.cat([weight.grad.flatten() for weight in learner.network.parameters()])


def test_the_objective_is_that_of_the_references_loop(monkeypatch):
    """Normalised floats, channels first, three passes and F.cosine_similarity, against the trainer's way."""
    learner = tiny_learner(tiny_params(RANDOM | {"batch.forward_passes": "separate"}))
    learner.train()
    found, gradients = loss_and_gradients(learner)

    plain = tiny_learner(learner.params).network.to(memory_format=torch.contiguous_format)
    images = learner.store.images.permute(0, 2, 3, 1).numpy()
    loop = ReferenceLoop(Plain(plain), images, learner.pool.images)
    normalised = (learner.store.images.float() - 100) / 50  # as tiny_learner's network does
    parts = iter(normalised[torch.from_numpy(TRIPLETS.images)].chunk(3))
    monkeypatch.setattr(loop, "drawn", lambda images: next(parts))
    monkeypatch.setattr(loop, "others", lambda task: None)
    monkeypatch.setattr(loop.optimizer, "step", lambda: None)
    assert loop.step(0).item() == pytest.approx(found, abs=1e-6)
    expected = torch.cat([weight.grad.flatten() for weight in plain.parameters()])
    torch.testing.assert_close(gradients, expected, rtol=1e-4, atol=1e-6)


def test_the_references_loop_draws_a_class_against_others_and_learns():
    # Of three passes each has statistics of its own: a batch norm of the embedding would hide a task's one class.
    learner = tiny_learner(tiny_params(RANDOM | {"network.embedding_norm": False}))
    images = np.random.default_rng(0).integers(0, 256, (700, 8, 8, 1), dtype=np.uint8)
    images[:, :4] = np.arange(700)[:, None, None, None] // 140 * 50  # a half that tells the class, mirrored or not
    loop = ReferenceLoop(Plain(learner.network), images, [np.arange(140) + 140 * c for c in range(5)])
    corners = [stack[:, 0, 0, 0].unique() for stack in loop.stacks]
    assert all(len(corner) == 1 for corner in corners)
    assert loop.drawn(loop.stacks[3]).shape == (128, 1, 8, 8)
    others = loop.others(3)
    assert others.shape == (128, 1, 8, 8)
    assert set(others[:, 0, 0, 0].tolist()) == {corners[c].item() for c in (0, 1, 2, 4)}
    losses = [loop.step(0).item() for _ in range(12)]
    assert losses[-1] < 0.8 * losses[0]


def test_bfloat16_gives_the_losses_and_gradients_of_float32_up_to_its_rounding():
    results = []
    for precision in ("fp32", "bf16"):
        learner = tiny_learner(tiny_params({"hardware.precision": precision, "batch.size": 12}))
        learner.train()
        rng = random_stream(0, "classic")
        (batch,) = learner.batches(rng, np.array([0, 1, 4]), 1)
        results.append(loss_and_gradients(learner, batch))
    (plain, exact), (fast, rounded) = results
    assert fast == pytest.approx(plain, rel=0.02) and fast != plain
    assert F.cosine_similarity(exact, rounded, dim=0) > 0.99


def test_contenders_take_turns_and_a_spread_is_of_their_rounds():
    order = []
    side_by_side({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2)
    assert order == ["a", "b"] * 3  # a round to warm up
    assert spread(np.array([2.0, 2.0, 3.0])) == {"median": 2.0, "from": 2.0, "to": 2.5}


@pytest.fixture(scope="module")
def trainers(small):
    params = tiny_params()
    return Trainers(params, small, make_split(small, params))


@pytest.mark.parametrize("name", ["bare", "classic", "meta", "reference_way"])
def test_contenders_work_and_leave_torch_as_it_was(trainers, name):
    work = getattr(trainers, name)(4)
    assert np.isfinite(work())
    assert torch.are_deterministic_algorithms_enabled()
