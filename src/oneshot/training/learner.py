"""What both trainings share: the network with its losses, the weights that learn, the batches, a step on one."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from oneshot.common.errors import UserError
from oneshot.common.params import Count, Seed, StageParams
from oneshot.data.images import ImageStore, rotated, to_device
from oneshot.data.sampling import Batch, BatchParams, ClassPool, random_stream
from oneshot.hardware import distributed
from oneshot.hardware.device import Compute, HardwareParams
from oneshot.hardware.recording import recorded
from oneshot.model.losses import LossParams, make_losses
from oneshot.model.network import NetworkParams, SiameseNetwork
from oneshot.model.optimizers import make_optimizer
from oneshot.training.batch_norm import share_statistics


class TrainingStage(StageParams):
    """What both stages of training read; each adds a group of its own."""

    seed: Seed
    image_budget: Count
    network: NetworkParams
    loss: LossParams
    batch: BatchParams
    hardware: HardwareParams


class Inputs(NamedTuple):
    """What a step computes on: how each image is cut (R, B), and what `make_losses` says of the rest; on the device."""

    draws: Tensor
    labels: Tensor
    classes: Tensor
    in_batch: int


class Learner(nn.Module):
    """A Siamese network and its losses.

    Args:
        store: the training images.
        pool: the images of each seen class that training may use.
    """

    def __init__(
        self, params: TrainingStage, compute: Compute, network: SiameseNetwork, store: ImageStore, pool: ClassPool
    ) -> None:
        super().__init__()
        self.params, self.compute, self.store, self.pool = params, compute, store, pool
        self.network = network
        self.losses = make_losses(params.loss, len(pool), network.dimensions)
        self.to(compute.device).to(memory_format=torch.channels_last)
        self.shares_batches = False

    def batches(self, rng: np.random.Generator, classes: np.ndarray, steps: int) -> list[Batch]:
        """`steps` batches over `classes`, laid out as the way of mining needs them."""
        draw = self.pool.triplet_batches if self.params.loss.mining == "random" else self.pool.pk_batches
        return draw(rng, classes, self.params.batch.size, steps)

    def inputs(self, batch: Batch, classes: np.ndarray, rng: np.random.Generator) -> Inputs:
        """What `loss` computes on, for a batch of a task of `classes` (N,); `rng` draws the augmentation."""
        order = np.argsort(classes)
        # The negatives of a task of one class have no place in it, and no loss that asks for one.
        labels = order[np.searchsorted(classes, batch.labels, sorter=order).clip(max=len(classes) - 1)]
        arrays = self.store.draw(batch.images, rng), labels, classes
        draws, targets, task = (to_device(array, self.compute.device) for array in arrays)
        return Inputs(draws, targets, task, len(np.unique(labels)))

    def loss(self, inputs: Inputs) -> Tensor:
        """The sum of the losses on one batch of a task; a scalar."""
        mine = slice(distributed.RANK, None, distributed.WORLD_SIZE) if self.shares_batches else slice(None)
        images = self.turned(self.store.augment(inputs.draws[:, mine]), inputs.classes[inputs.labels[mine]])
        with self.compute.forward_precision():
            if self.params.batch.forward_passes == "joint":
                embeddings = self.network(images)
            else:  # as the reference: batch-norm statistics then tell anchors, positives and negatives apart
                embeddings = torch.cat([self.network(part) for part in images.chunk(3)])
        if self.shares_batches:
            embeddings = distributed.interleaved(embeddings)
        return torch.stack([loss(embeddings, *inputs[1:]) for loss in self.losses]).sum()

    def weights(self) -> list[Tensor]:
        """The weights that learn: the network's and the losses'; batch-norm statistics are not among them."""
        return [*self.network.parameters(), *self.losses.parameters()]

    def optimizer(self, kind: str, learning_rate: float, momentum: float) -> torch.optim.Optimizer:
        """An optimizer of `kind` over `weights()`."""
        decay, bf16 = self.params.loss.weight_decay, self.compute.bf16
        return make_optimizer(self.weights(), kind, learning_rate, momentum, decay, bf16)

    def reestimate(self, network: SiameseNetwork, batches: int) -> None:
        """Measure the batch-norm statistics of `network` anew, in place, on so many batches of mixed classes."""
        rng = random_stream(self.params.seed, "batch_norm", 1)
        with self.compute.forward_precision():
            update_bn((self.mixed_images(rng) for _ in range(batches)), network)

    def mixed_images(self, rng: np.random.Generator) -> Tensor:
        """A batch (B, C, H, W) of uint8 of random classes, augmented and turned as in training."""
        batch = self.pool.random_batch(rng, self.params.batch.size)
        return self.turned(self.store.augmented(batch.images, rng), to_device(batch.labels, self.compute.device))

    def turned(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images (B, C, H, W) of the pool's classes `labels` (B,), turned where that is a rotated class."""
        return rotated(images, labels // self.pool.upright) if self.params.batch.rotates else images

    def share_batches(self) -> None:
        """Let each process take every WORLD_SIZE-th image of a batch, whose statistics and loss are of all of it.

        Raises:
            UserError: the batch cannot be shared evenly.
        """
        size, processes = self.params.batch.size, distributed.WORLD_SIZE
        parts = 3 if self.params.batch.forward_passes == "separate" else 1
        if size % (processes * parts):
            raise UserError(
                f"batch.size: found {size}; must be a multiple of {processes * parts} for {processes} processes"
            )
        self.shares_batches = True
        share_statistics(self.network)


class OptimizerStep:
    """A step of an optimizer on a batch, in place. A GPU records what it launches and repeats it."""

    def __init__(self, learner: Learner, optimizer: torch.optim.Optimizer) -> None:
        self.learner, self.optimizer = learner, optimizer
        self.take = recorded(self._take, learner.store.images.device)  # copies from elsewhere cannot be

    def __call__(self, inputs: Inputs, learning_rate: float) -> Tensor:
        """Take the step; returns the loss before it, a scalar on the device."""
        return self.take(learning_rate, *inputs)

    def _take(self, learning_rate: float | Tensor, *inputs: Any) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad()
        loss = self.learner.loss(Inputs(*inputs))
        loss.backward()
        if self.learner.shares_batches:  # each has the part of its images; the losses' own weights have the whole
            distributed.all_reduce([w.grad for w in self.learner.network.parameters() if w.grad is not None])
        self.optimizer.step()
        return loss.detach()
