"""What both trainings share: the network with its objective, the weights that learn, and the optimizer."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from oneshot.compute import Compute
from oneshot.images import ImageStore, to_device
from oneshot.losses import batch_triplet_loss, identity_loss, random_triplet_loss
from oneshot.network import SiameseNetwork
from oneshot.optimizers import make_optimizer
from oneshot.params import Params
from oneshot.sampling import Batch, ClassPool


class Learner(nn.Module):
    """A Siamese network, one proxy for each training class, and the objective of `params`.

    Args:
        store: the training images.
        pool: the images of each seen class that training may use.
    """

    def __init__(
        self, params: Params, compute: Compute, network: SiameseNetwork, store: ImageStore, pool: ClassPool
    ) -> None:
        super().__init__()
        self.params, self.compute, self.store, self.pool = params, compute, store, pool
        self.network = network
        self.proxies = nn.Parameter(torch.randn(len(pool), network.dimensions))
        self.to(compute.device).to(memory_format=torch.channels_last)
        self._embed = torch.compile(self.network.forward) if params.compile else self.network.forward

    def batches(self, rng: np.random.Generator, classes: np.ndarray, steps: int) -> list[Batch]:
        """`steps` batches over `classes`, laid out as the way of mining needs them."""
        mining, size = self.params.triplet_mining, self.params.batch_size
        draw = self.pool.triplet_batches if mining == "random" else self.pool.class_batches
        return draw(rng, classes, size, steps)

    def loss(self, batch: Batch, classes: np.ndarray, rng: np.random.Generator) -> Tensor:
        """The objective on one batch of a task; a scalar.

        Args:
            classes: the classes of the task, among which the identity loss decides.
            rng: draws the augmentation.
        """
        p = self.params
        images = self.store.augmented(batch.images, rng)
        with self.compute.forward_precision():
            if p.forward_passes == "joint":
                embeddings = self._embed(images)
            else:  # as the reference: batch-norm statistics then tell anchors, positives and negatives apart
                embeddings = torch.cat([self._embed(part) for part in images.chunk(3)])
        loss = embeddings.new_zeros(())
        if p.triplet_weight:
            if p.triplet_mining == "random":
                triplet = random_triplet_loss(embeddings, p.triplet_margin, p.triplet_soft_scale)
            else:
                in_batch = len(np.unique(batch.labels))
                hardest = p.triplet_mining == "hard"
                triplet = batch_triplet_loss(embeddings, in_batch, p.triplet_margin, p.triplet_soft_scale, hardest)
            loss = loss + p.triplet_weight * triplet
        if p.identity_weight:
            order = np.argsort(classes)
            labels = order[np.searchsorted(classes, batch.labels, sorter=order)]  # within the task
            targets = to_device(labels, embeddings.device)
            proxies = self.proxies[to_device(classes, embeddings.device)]
            loss = loss + p.identity_weight * identity_loss(
                embeddings, targets, proxies, p.identity_scale, p.label_smoothing
            )
        return loss

    def weights(self) -> list[Tensor]:
        """The weights that the objective reaches; batch-norm statistics are not among them."""
        return [*self.network.parameters(), *([self.proxies] if self.params.identity_weight else [])]

    def optimizer(self, kind: str, learning_rate: float, momentum: float) -> torch.optim.Optimizer:
        """An optimizer of `kind` over `weights()`."""
        decay, bf16 = self.params.weight_decay, self.compute.bf16
        return make_optimizer(self.weights(), kind, learning_rate, momentum, decay, bf16)
