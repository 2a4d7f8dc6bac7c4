"""Reptile (Nichol, Achiam & Schulman 2018, algorithms 1 and 2), with tasks of one or more classes.

Repeat: train on a task for a few steps, then move the initial weights a little towards the trained ones. With several
tasks in an outer step, each starts from the same state and the mean of what they did counts, so that their order does
not matter and processes may share them.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from oneshot import processes
from oneshot.errors import UserError
from oneshot.learner import Learner
from oneshot.network import batch_norms
from oneshot.params import Params
from oneshot.sampling import random_stream


class ReptileTraining:
    """Outer steps of Reptile; each depends on the learner's state and the step's number alone.

    Raises:
        UserError: the tasks of an outer step cannot be shared evenly among the processes.
    """

    name = "meta"
    ignores: ClassVar[tuple[str, ...]] = ("classic_",)  # starts of the other training's parameters
    likely_cause = "inner_learning_rate"  # where the loss stops being a number

    def __init__(self, params: Params, learner: Learner) -> None:
        if params.meta_tasks % processes.COUNT:
            raise UserError(
                f"params.yaml: meta_tasks: found {params.meta_tasks}; must be a multiple of {processes.COUNT}, "
                "the processes that share them"
            )
        self.params, self.learner = params, learner
        self.averages_state = params.inner_state == "keep" and params.meta_tasks > 1
        self.reestimates_batch_norm = params.meta_batch_norm == "reestimate"
        self.batches_per_step = params.meta_tasks * params.inner_steps
        self.images_per_step = self.batches_per_step * params.batch_size
        self.steps = params.image_budget // self.images_per_step
        self.optimizer = learner.optimizer(params.inner_optimizer, params.inner_learning_rate, params.inner_momentum)
        self.velocity = [torch.zeros_like(weight) for weight in self.interpolated()]

    def interpolated(self) -> list[Tensor]:
        """What the outer step moves: the weights, and, as the reference did, the batch-norm statistics if asked."""
        weights = [weight.data for weight in self.learner.weights()]
        if self.params.meta_batch_norm == "interpolate":
            for layer in batch_norms(self.learner.network):
                assert layer.running_mean is not None and layer.running_var is not None
                weights += [layer.running_mean, layer.running_var]
        return weights

    def outer_step_size(self, step: int) -> float:
        """The share of the way to the trained weights: meta_step, falling linearly to 0 if so scheduled."""
        falling = self.params.meta_schedule == "linear"
        return self.params.meta_step * (1 - step / self.steps if falling else 1)

    def step(self, step: int) -> Tensor:
        """Take outer step number `step`; returns the mean loss of its inner steps, a scalar on the device."""
        tasks = self.params.meta_tasks
        weights = self.interpolated()
        start = [weight.clone() for weight in weights]
        displacement = [torch.zeros_like(weight) for weight in weights]
        before = self.optimizer_state() if self.averages_state else None
        states, losses = [], []
        for task in processes.share(tasks):
            if before is not None:
                self.set_optimizer_state(before)
            losses.append(self.inner_loop(step, task))
            for moved, weight, initial in zip(displacement, weights, start, strict=True):
                moved += (weight - initial) / tasks
                weight.copy_(initial)
            if before is not None:
                states.append([value / tasks for value in self.optimizer_state()])
        state = [torch.stack(values).sum(0) for values in zip(*states, strict=True)]
        loss = torch.stack(losses).sum() / tasks
        processes.add_up([*displacement, *state, loss])
        if before is not None:
            self.set_optimizer_state(state)
        self.outer_step(weights, displacement, self.outer_step_size(step))
        return loss

    def inner_loop(self, step: int, task: int) -> Tensor:
        """Train on one task, in place; returns the mean loss."""
        p, learner = self.params, self.learner
        rng = random_stream(p.seed, "meta", step, task)
        classes = learner.pool.draw_classes(rng, p.task_classes)
        if p.inner_state == "reset":
            self.optimizer.state.clear()
        losses = []
        for batch in learner.batches(rng, classes, p.inner_steps):
            self.optimizer.zero_grad()
            loss = learner.loss(batch, classes, rng)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses).mean()

    def outer_step(self, weights: list[Tensor], displacement: list[Tensor], size: float) -> None:
        """weights += size * displacement, in place, with Nesterov's momentum (Sutskever et al. 2013) if asked."""
        momentum = self.params.meta_momentum
        for weight, moved, velocity in zip(weights, displacement, self.velocity, strict=True):
            velocity.mul_(momentum).add_(moved)
            weight.add_(moved + momentum * velocity, alpha=size)

    def optimizer_state(self) -> list[Tensor]:
        """Copies of all tensors of the inner optimizer's state; none before its first step."""
        return [value.clone() for value in self._optimizer_tensors()]

    def set_optimizer_state(self, values: list[Tensor]) -> None:
        """Go back to `optimizer_state()`."""
        if not values:
            self.optimizer.state.clear()
        for value, earlier in zip(self._optimizer_tensors(), values, strict=True):
            value.copy_(earlier)

    def _optimizer_tensors(self) -> list[Tensor]:
        states = self.optimizer.state.values()
        return [value for state in states for value in state.values() if isinstance(value, Tensor)]

    def state_dict(self) -> dict[str, Any]:
        """What, beside the learner, the next step depends on."""
        kept = self.optimizer.state_dict() if self.params.inner_state == "keep" else None
        return {"velocity": self.velocity, "optimizer": kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
        for velocity, saved in zip(self.velocity, state["velocity"], strict=True):
            velocity.copy_(saved)
        if state["optimizer"] is not None:
            self.optimizer.load_state_dict(state["optimizer"])
