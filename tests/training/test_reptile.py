"""The Reptile update against the paper's formula, and what a task leaves behind."""

import copy

import pytest
import torch
from helpers import ROOT, tiny_learner, tiny_params

from oneshot.data.sampling import random_stream
from oneshot.hardware import distributed
from oneshot.model.network import batch_norms
from oneshot.record.runs import read_overrides
from oneshot.training.reptile import ReptileTraining
from oneshot.training.weights import optimizer_state


def weights_of(learner):
    return [weight.detach().clone() for weight in learner.weights()]


def trained_on_task(params, step, task, start):
    """Weights after plain gradient descent on one task from the weights of `start`, written out."""
    learner = tiny_learner(params)
    learner.load_state_dict(start)
    rng = random_stream(params.seed, "meta", step, task)
    classes = learner.pool.draw_classes(rng, params.reptile.task_classes)
    for batch in learner.batches(rng, classes, params.reptile.inner_steps):
        gradients = torch.autograd.grad(learner.loss(learner.inputs(batch, classes, rng)), learner.weights())
        with torch.no_grad():
            for weight, gradient in zip(learner.weights(), gradients, strict=True):
                weight -= params.reptile.inner_learning_rate * gradient
    return weights_of(learner)


@pytest.mark.parametrize(
    ("tasks", "schedule", "epsilon"), [(1, "linear", 0.3), (3, "linear", 0.3), (3, "constant", 0.5)]
)
def test_outer_step_is_the_papers_formula(tasks, schedule, epsilon):
    """phi <- phi + epsilon * mean over tasks of (phi_task - phi), algorithm 2 of Nichol et al. 2018.

    From 0.5 at the start, epsilon falls linearly, to 0.5 * (1 - 2 / 5), or stays.
    """
    changes = {"reptile.inner_optimizer": "sgd", "reptile.meta_batch_size": tasks, "loss.weight_decay": 0.0}
    params = tiny_params(changes | {"meta_step": 0.5, "reptile.schedule": schedule, "image_budget": 120 * tasks})
    learner = tiny_learner(params)
    training = ReptileTraining(params, learner)
    assert training.steps == 5
    start, before = copy.deepcopy(learner.state_dict()), weights_of(learner)
    # Batch-norm statistics do not take part in training mode, so each task may start from the same state.
    after = [trained_on_task(params, 2, task, start) for task in range(tasks)]
    training.step(2)
    for i, weight in enumerate(weights_of(learner)):
        expected = before[i] + epsilon * sum(task[i] - before[i] for task in after) / tasks
        torch.testing.assert_close(weight, expected, rtol=1e-5, atol=1e-6)
        assert not torch.equal(weight, before[i])


def test_statistics_are_interpolated_only_when_asked():
    for kind, moves in (("reestimate", False), ("interpolate", True)):
        params = tiny_params({"reptile.batch_norm": kind, "meta_step": 0.25})
        learner, plain = tiny_learner(params), tiny_learner(params)
        training = ReptileTraining(params, learner)
        assert training.reestimates_batch_norm == (not moves)
        training.step(0)
        ReptileTraining(params, plain).inner_loop(0, 0)
        layer, after_task = batch_norms(learner.network)[0], batch_norms(plain.network)[0].running_mean
        assert torch.allclose(layer.running_mean, 0.25 * after_task) == moves  # they start at 0
        assert torch.allclose(layer.running_mean, after_task) != moves
        assert layer.num_batches_tracked.dtype == torch.int64


@pytest.mark.parametrize(("kept", "counts"), [("reset", [2, 2]), ("keep", [2, 4])])
def test_optimizer_state_is_reset_or_kept(kept, counts):
    changes = {"reptile.inner_optimizer": "adam", "reptile.inner_learning_rate": 0.001}
    params = tiny_params(changes | {"reptile.inner_state": kept})
    training = ReptileTraining(params, tiny_learner(params))
    found = []
    for step in range(2):
        training.step(step)
        found.append(int(next(iter(training.optimizer.state.values()))["step"]))
    assert found == counts


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "muon"])
def test_the_order_of_tasks_does_not_matter(monkeypatch, optimizer):
    """Each starts from the same weights and the same state of the optimizer, though that is kept."""
    kept = {"reptile.inner_optimizer": optimizer, "reptile.inner_state": "keep", "reptile.inner_momentum": 0.9}
    params = tiny_params(kept | {"reptile.meta_batch_size": 3, "reptile.inner_learning_rate": 0.001})
    weights = []
    for order in ([0, 1, 2], [2, 0, 1]):
        learner = tiny_learner(params)
        training = ReptileTraining(params, learner)
        monkeypatch.setattr(distributed, "share", lambda tasks, order=order: order)
        for step in range(3):
            training.step(step)
        weights.append(weights_of(learner))
        assert len(optimizer_state(training.optimizer)) >= len(weights[0])
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_reference_is_reached_by_parameters():
    """One class against the rest, Adam with its momentum kept, three forward passes, statistics interpolated."""
    reference = read_overrides(ROOT / "configs/reference.yaml", [])
    sizes = ("dataset", "image_budget", "split.", "network.", "batch.size", "reptile.inner_steps")
    params = tiny_params({name: value for name, value in reference.items() if not name.startswith(sizes)})
    learner = tiny_learner(params)
    before = weights_of(learner)
    assert torch.isfinite(ReptileTraining(learner.params, learner).step(0))
    assert all(not torch.equal(a, b) for a, b in zip(before, weights_of(learner), strict=True) if a.ndim == 4)
    assert batch_norms(learner.network)[0].num_batches_tracked == 6  # two steps: each pass has statistics of its own
