"""Reptile (Nichol, Achiam & Schulman 2018, algorithms 1 and 2), with tasks of one or more classes.

Repeat: train on a task for a few steps, then move the initial weights a little towards the trained ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from oneshot.common.errors import UserError
from oneshot.common.params import Float, Group, Int, Positive
from oneshot.data.sampling import classes_fit, random_stream
from oneshot.hardware import distributed
from oneshot.model.network import batch_norms
from oneshot.model.optimizers import OptimizerName
from oneshot.training.learner import Learner, OptimizerStep, TrainingStage
from oneshot.training.weights import assign, clone, mean, move, optimizer_state, set_optimizer_state, subtract


class ReptileParams(Group):
    """The group `reptile`."""

    task_classes: Annotated[Int, Field(ge=1, le=10**6)]
    meta_batch_size: Annotated[Int, Field(ge=1, le=10**4)]
    schedule: Literal["linear", "constant"]
    batch_norm: Literal["reestimate", "interpolate"]
    inner_steps: Annotated[Int, Field(ge=1, le=10**6)]
    inner_optimizer: OptimizerName
    inner_learning_rate: Positive
    inner_momentum: Annotated[Float, Field(ge=0, le=0.999)]
    inner_state: Literal["reset", "keep"]

    def mistakes(self, params: Any) -> Iterator[tuple[str, str]]:
        """See `Group`."""
        for allowed in classes_fit(self.task_classes, params):
            yield "task_classes", allowed
        if params.loss.softmax_weight and self.task_classes == 1:
            yield "task_classes", "must be at least 2 where loss.softmax_weight is above 0"


class ReptileStage(TrainingStage):
    """What the stage `train_meta` reads."""

    meta_step: Annotated[Float, Field(gt=0, le=10)]  # at 0 nothing is learnt
    reptile: ReptileParams


class ReptileTraining:
    """Outer steps of Reptile; each depends on the learner's state and the step's number alone.

    Raises:
        UserError: the tasks of an outer step cannot be shared evenly among the processes.
    """

    name = "meta"

    def __init__(self, params: ReptileStage, learner: Learner) -> None:
        reptile, processes = params.reptile, distributed.WORLD_SIZE
        if reptile.meta_batch_size % processes:
            raise UserError(
                f"reptile.meta_batch_size: found {reptile.meta_batch_size}; must be a multiple of {processes}, the "
                "processes that share its tasks"
            )
        self.params, self.learner = params, learner
        self.reestimates_batch_norm = reptile.batch_norm == "reestimate"
        self.images_per_step = reptile.meta_batch_size * reptile.inner_steps * params.batch.size
        self.steps = params.image_budget // self.images_per_step
        self.optimizer = learner.optimizer(reptile.inner_optimizer, reptile.inner_learning_rate, reptile.inner_momentum)
        self.take = OptimizerStep(learner, self.optimizer)
        self.where_to_look = f"reptile.inner_learning_rate: found {reptile.inner_learning_rate}"

    def step(self, step: int) -> Tensor:
        """Take outer step number `step`; returns the mean loss of its inner steps, a scalar on the device."""
        tasks = self.params.reptile.meta_batch_size
        weights = self.interpolated()
        start, before = clone(weights), clone(optimizer_state(self.optimizer))
        deltas, states, losses = [], [], []
        for task in distributed.share(tasks):  # each from the same start, so that their order does not matter
            set_optimizer_state(self.optimizer, before)
            losses.append([self.inner_loop(step, task)])
            deltas.append(subtract(weights, start))
            states.append(clone(optimizer_state(self.optimizer)))
            assign(weights, start)
        # This process's share of the means, then the means. The pseudo-gradient points to the trained weights.
        pseudo_gradient, state, loss = (mean(values, tasks) for values in (deltas, states, losses))
        distributed.all_reduce([*pseudo_gradient, *state, *loss])
        set_optimizer_state(self.optimizer, state)
        move(weights, pseudo_gradient, self.outer_step_size(step))
        return loss[0]

    def inner_loop(self, step: int, task: int) -> Tensor:
        """Train on one task, in place; returns the mean loss."""
        reptile, learner = self.params.reptile, self.learner
        rng = random_stream(self.params.seed, "meta", step, task)
        classes = learner.pool.draw_classes(rng, reptile.task_classes)
        if reptile.inner_state == "reset":
            set_optimizer_state(self.optimizer, [])
        batches = learner.batches(rng, classes, reptile.inner_steps)
        losses = [self.take(learner.inputs(batch, classes, rng), reptile.inner_learning_rate) for batch in batches]
        return torch.stack(losses).mean()

    def outer_step_size(self, step: int) -> float:
        """The share of the way to the trained weights: meta_step, falling linearly to 0 if so scheduled."""
        falling = self.params.reptile.schedule == "linear"
        return self.params.meta_step * (1 - step / self.steps if falling else 1)

    def interpolated(self) -> list[Tensor]:
        """What the outer step moves: the weights, and, as the reference did, the batch-norm statistics if asked."""
        weights = [weight.data for weight in self.learner.weights()]
        if self.params.reptile.batch_norm == "interpolate":
            for layer in batch_norms(self.learner.network):
                assert layer.running_mean is not None and layer.running_var is not None
                weights += [layer.running_mean, layer.running_var]
        return weights
