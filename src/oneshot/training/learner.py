"""What both trainings share: the network with its losses, the weights that learn, and the batches."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from oneshot.common.params import Count, Seed, StageParams
from oneshot.data.images import ImageStore
from oneshot.data.sampling import Batch, BatchParams, ClassPool
from oneshot.hardware.device import Compute, HardwareParams
from oneshot.model.losses import LossParams, make_losses
from oneshot.model.network import NetworkParams, SiameseNetwork
from oneshot.model.optimizers import make_optimizer


class TrainingStage(StageParams):
    """What both stages of training read; each adds a group of its own."""

    seed: Seed
    image_budget: Count
    network: NetworkParams
    loss: LossParams
    batch: BatchParams
    hardware: HardwareParams


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
        self._embed = torch.compile(network.forward) if params.hardware.compile else network.forward

    def batches(self, rng: np.random.Generator, classes: np.ndarray, steps: int) -> list[Batch]:
        """`steps` batches over `classes`, laid out as the way of mining needs them."""
        draw = self.pool.triplet_batches if self.params.loss.mining == "random" else self.pool.pk_batches
        return draw(rng, classes, self.params.batch.size, steps)

    def loss(self, batch: Batch, classes: np.ndarray, progress: float, rng: np.random.Generator) -> Tensor:
        """The sum of the losses on one batch of a task; a scalar.

        Args:
            classes: the classes of the task (N,).
            progress: of the training, 0..1.
            rng: draws the augmentation.
        """
        images = self.store.augmented(batch.images, rng)
        with self.compute.forward_precision():
            if self.params.batch.forward_passes == "joint":
                embeddings = self._embed(images)
            else:  # as the reference: batch-norm statistics then tell anchors, positives and negatives apart
                embeddings = torch.cat([self._embed(part) for part in images.chunk(3)])
        return torch.stack([loss(embeddings, batch.labels, classes, progress) for loss in self.losses]).sum()

    def weights(self) -> list[Tensor]:
        """The weights that learn: the network's and the losses'; batch-norm statistics are not among them."""
        return [*self.network.parameters(), *self.losses.parameters()]

    def optimizer(self, kind: str, learning_rate: float, momentum: float) -> torch.optim.Optimizer:
        """An optimizer of `kind` over `weights()`."""
        decay, bf16 = self.params.loss.weight_decay, self.compute.bf16
        return make_optimizer(self.weights(), kind, learning_rate, momentum, decay, bf16)
