"""Classic training: every step sees a batch of random seen classes, and one optimizer follows the objective."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from oneshot import processes
from oneshot.errors import UserError
from oneshot.learner import Learner
from oneshot.params import Params
from oneshot.sampling import random_stream

WARM_UP = 0.2  # share of the steps in which one_cycle's learning rate rises


class ClassicTraining:
    """Steps of classic training; each depends on the learner's state and the step's number alone.

    Raises:
        UserError: started in several processes.
    """

    name = "classic"
    ignores: ClassVar[tuple[str, ...]] = ("meta_", "task_", "inner_")  # starts of the other training's parameters
    likely_cause = "classic_learning_rate"  # where the loss stops being a number
    reestimates_batch_norm = False  # its batches are of mixed classes: the moving averages hold

    def __init__(self, params: Params, learner: Learner) -> None:
        if processes.COUNT > 1:
            raise UserError(f"train_classic: found {processes.COUNT} processes; must be one, start it without torchrun")
        self.params, self.learner = params, learner
        self.batches_per_step = 1
        self.images_per_step = params.batch_size
        self.steps = params.image_budget // self.images_per_step
        self.optimizer = learner.optimizer(
            params.classic_optimizer, params.classic_learning_rate, params.classic_momentum
        )

    def learning_rate(self, step: int) -> float:
        """One-cycle: linear from 0 to its peak in the first fifth of the steps, then linear to 0 (Smith 2018)."""
        p = self.params
        if p.classic_schedule == "constant":
            return p.classic_learning_rate
        done = (step + 0.5) / self.steps
        return p.classic_learning_rate * min(done / WARM_UP, (1 - done) / (1 - WARM_UP))

    def step(self, step: int) -> Tensor:
        """Take step number `step`; returns its loss, a scalar on the device."""
        p, learner = self.params, self.learner
        rng = random_stream(p.seed, "classic", step)
        # Random triplets span all seen classes; mining needs several images of each class in the batch.
        everything = np.arange(len(learner.pool))
        mined = p.triplet_mining != "random"
        classes = learner.pool.draw_classes(rng, p.classic_batch_classes) if mined else everything
        (batch,) = learner.batches(rng, classes, steps=1)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step)
        self.optimizer.zero_grad()
        loss = learner.loss(batch, everything, rng)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def state_dict(self) -> dict[str, Any]:
        """What, beside the learner, the next step depends on."""
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
        self.optimizer.load_state_dict(state["optimizer"])
