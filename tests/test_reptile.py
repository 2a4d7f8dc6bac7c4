"""The Reptile update against the paper's formula, and what a task leaves behind."""

import copy

import pytest
import torch
from helpers import tiny_learner, tiny_params

from oneshot.network import batch_norms
from oneshot.reptile import ReptileTraining
from oneshot.sampling import random_stream


def weights_of(learner):
    return [weight.detach().clone() for weight in learner.weights()]


def trained_on_task(params, step, task, start):
    """Weights after plain gradient descent on one task from the weights of `start`, written out."""
    learner = tiny_learner(params)
    learner.load_state_dict(start)
    rng = random_stream(params.seed, "meta", step, task)
    classes = learner.pool.draw_classes(rng, params.task_classes)
    for batch in learner.batches(rng, classes, params.inner_steps):
        gradients = torch.autograd.grad(learner.loss(batch, classes, rng), learner.weights())
        with torch.no_grad():
            for weight, gradient in zip(learner.weights(), gradients, strict=True):
                weight -= params.inner_learning_rate * gradient
    return weights_of(learner)


@pytest.mark.parametrize("tasks", [1, 3])
def test_outer_step_is_the_papers_formula(tasks):
    """phi <- phi + epsilon * mean over tasks of (phi_task - phi), algorithm 2 of Nichol et al. 2018."""
    params = tiny_params(inner_optimizer="sgd", meta_tasks=tasks, meta_step=0.3, meta_momentum=0.0, weight_decay=0.0)
    learner = tiny_learner(params)
    start = copy.deepcopy(learner.state_dict())
    before = weights_of(learner)
    # Batch-norm statistics do not take part in training mode, so each task may start from the same state.
    after = [trained_on_task(params, 0, task, start) for task in range(tasks)]
    ReptileTraining(params, learner).step(0)
    for i, weight in enumerate(weights_of(learner)):
        expected = before[i] + 0.3 * sum(task[i] - before[i] for task in after) / tasks
        torch.testing.assert_close(weight, expected, rtol=1e-5, atol=1e-6)
        assert not torch.equal(weight, before[i])


def test_outer_step_falls_linearly_to_zero():
    training = ReptileTraining(tiny_params(meta_step=0.01), tiny_learner(tiny_params()))
    assert training.steps == 10
    assert [round(training.outer_step_size(i), 4) for i in (0, 5, 9)] == [0.01, 0.005, 0.001]


def test_momentum_is_nesterovs():
    params = tiny_params(meta_momentum=0.9, meta_step=0.5, meta_schedule="constant")
    training = ReptileTraining(params, tiny_learner(params))
    weights = [torch.zeros(1) for _ in training.velocity]
    reference = torch.zeros(1, requires_grad=True)
    sgd = torch.optim.SGD([reference], lr=0.5, momentum=0.9, nesterov=True)
    training.velocity = [torch.zeros(1) for _ in weights]
    for moved in (1.0, -2.0, 0.5):
        training.outer_step(weights, [torch.full((1,), moved) for _ in weights], 0.5)
        reference.grad = torch.full((1,), -moved)
        sgd.step()
    torch.testing.assert_close(weights[0], reference.detach())


def test_statistics_are_interpolated_only_when_asked():
    for kind, moves in (("reestimate", False), ("interpolate", True)):
        params = tiny_params(meta_batch_norm=kind, meta_step=0.25, meta_momentum=0.0)
        learner = tiny_learner(params)
        ReptileTraining(params, learner).step(0)
        plain = tiny_learner(params)
        ReptileTraining(params, plain).inner_loop(0, 0)
        layer, after_task = batch_norms(learner.network)[0], batch_norms(plain.network)[0].running_mean
        assert torch.allclose(layer.running_mean, 0.25 * after_task) == moves  # they start at 0
        assert torch.allclose(layer.running_mean, after_task) != moves
        assert layer.num_batches_tracked.dtype == torch.int64


@pytest.mark.parametrize(("kept", "counts"), [("reset", [2, 2]), ("keep", [2, 4])])
def test_optimizer_state_is_reset_or_kept(kept, counts):
    params = tiny_params(inner_state=kept, inner_optimizer="adam", inner_learning_rate=0.001)
    training = ReptileTraining(params, tiny_learner(params))
    found = []
    for step in range(2):
        training.step(step)
        found.append(int(next(iter(training.optimizer.state.values()))["step"]))
    assert found == counts


def test_the_reference_is_reached_by_parameters():
    """One class against the rest, Adam with its momentum kept, three forward passes, statistics interpolated."""
    params = tiny_params(
        task_classes=1,
        triplet_mining="random",
        triplet_soft_scale=0.0,
        identity_weight=0.0,
        inner_optimizer="adam",
        inner_learning_rate=0.001,
        inner_momentum=0.9,
        inner_state="keep",
        forward_passes="separate",
        meta_batch_norm="interpolate",
        meta_step=0.01,
        meta_momentum=0.0,
        augmentation="none",
    )
    learner = tiny_learner(params)
    before = weights_of(learner)
    loss = ReptileTraining(params, learner).step(0)
    assert torch.isfinite(loss)
    assert all(not torch.equal(a, b) for a, b in zip(before, weights_of(learner), strict=True) if a.ndim == 4)
    assert torch.equal(learner.proxies, tiny_learner(params).proxies)  # no identity loss, no proxies learnt


def test_separate_passes_have_statistics_of_their_own():
    joint = tiny_params(triplet_mining="random", identity_weight=0.0)
    learner = tiny_learner(joint)
    separate = tiny_learner(tiny_params(triplet_mining="random", identity_weight=0.0, forward_passes="separate"))
    ReptileTraining(joint, learner).inner_loop(0, 0)
    ReptileTraining(separate.params, separate).inner_loop(0, 0)
    tracked = [batch_norms(each.network)[0].num_batches_tracked.item() for each in (learner, separate)]
    assert tracked == [2, 6]
