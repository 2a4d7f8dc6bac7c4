"""Classic training: every step sees a batch of random seen classes, and one optimizer follows the objective."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from torch import Tensor

from oneshot.common.params import Group, Positive, Two
from oneshot.data.sampling import classes_fit, random_stream
from oneshot.hardware import distributed
from oneshot.model.optimizers import OptimizerName
from oneshot.training.learner import Learner, OptimizerStep, TrainingStage

WARM_UP = 0.2  # share of the steps in which one_cycle's learning rate rises
MOMENTUM = 0.9  # of muon and sgd, or adam's beta1


class ClassicParams(Group):
    """The group `classic`."""

    batch_classes: Two
    optimizer: OptimizerName
    learning_rate: Positive
    schedule: Literal["one_cycle", "constant"]

    def mistakes(self, params: Any) -> Iterator[tuple[str, str]]:
        """See `Group`."""
        # Random triplets are of all seen classes.
        for allowed in classes_fit(self.batch_classes, params) if params.loss.mining != "random" else ():
            yield "batch_classes", allowed


class ClassicStage(TrainingStage):
    """What the stage `train_classic` reads."""

    classic: ClassicParams


class ClassicTraining:
    """Steps of classic training; each depends on the learner's state and the step's number alone.

    Several processes share each batch.

    Raises:
        UserError: they cannot share it evenly.
    """

    name = "classic"
    reestimates_batch_norm = False  # its batches are of mixed classes: the moving averages hold

    def __init__(self, params: ClassicStage, learner: Learner) -> None:
        if distributed.WORLD_SIZE > 1:
            learner.share_batches()
        self.params, self.learner = params, learner
        self.images_per_step = params.batch.size
        self.steps = params.image_budget // self.images_per_step
        classic = params.classic
        self.optimizer = learner.optimizer(classic.optimizer, classic.learning_rate, MOMENTUM)
        self.take = OptimizerStep(learner, self.optimizer)
        self.where_to_look = f"classic.learning_rate: found {classic.learning_rate}"

    def learning_rate(self, step: int) -> float:
        """The learning rate of step number `step`: constant, or one cycle from 0 up and down to 0, both straight."""
        peak = self.params.classic.learning_rate
        if self.params.classic.schedule == "constant":
            return peak
        done = (step + 0.5) / self.steps
        return peak * min(done / WARM_UP, (1 - done) / (1 - WARM_UP))

    def step(self, step: int) -> Tensor:
        """Take step number `step`; returns its loss, a scalar on the device."""
        p, learner = self.params, self.learner
        rng = random_stream(p.seed, "classic", step)
        # Random triplets span all seen classes; mining needs several images of each class in the batch.
        everything = np.arange(len(learner.pool))
        mined = p.loss.mining != "random"
        classes = learner.pool.draw_classes(rng, p.classic.batch_classes) if mined else everything
        (batch,) = learner.batches(rng, classes, steps=1)
        return self.take(learner.inputs(batch, everything, rng), self.learning_rate(step))
