"""The reference's inner loop, written anew from its description: the baseline of the benchmark.

float32, channels first, three forward passes, and a DataLoader iterator built again at each step. Images are stacked
as normalised tensors once, some of them mirrored, so that nothing is augmented later.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

BATCH = 128  # anchors, as many positives and as many negatives; fewer where a class has fewer images
MARGIN = 0.3
LEARNING_RATE = 0.001


class ReferenceLoop:
    """Adam steps on the tasks of a stack of images.

    Args:
        network: from normalised images (B, C, H, W), float32, to embeddings.
        images: (N, H, W, C) of uint8.
        classes: rows of `images` by class.
    """

    def __init__(self, network: nn.Module, images: np.ndarray, classes: list[np.ndarray], seed: int = 0) -> None:
        self.network = network.train()
        self.device = next(network.parameters()).device
        self.rng = np.random.default_rng(seed)
        self.optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
        stacked = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float().div_(255)
        mean, std = stacked.mean((0, 2, 3), keepdim=True), stacked.std((0, 2, 3), keepdim=True)
        stacked.sub_(mean).div_(std)
        mirrored = torch.from_numpy(self.rng.random(len(stacked)) < 0.5)
        stacked[mirrored] = stacked[mirrored].flip(3)
        self.batch = min(BATCH, *map(len, classes))
        self.stacks = [stacked[torch.from_numpy(rows)] for rows in classes]

    def step(self, task: int) -> Tensor:
        """One step on a class against all others; returns the loss."""
        anchors, positives = self.drawn(self.stacks[task]), self.drawn(self.stacks[task])
        negatives = self.drawn(self.others(task))
        a, p, n = (self.network(images) for images in (anchors, positives, negatives))
        loss = F.relu(F.cosine_similarity(a, n) - F.cosine_similarity(a, p) + MARGIN).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def drawn(self, images: Tensor) -> Tensor:
        """The first batch of a DataLoader that shuffles, whose iterator is then thrown away."""
        (batch,) = next(iter(DataLoader(TensorDataset(images), self.batch, shuffle=True)))
        return batch.to(self.device)

    def others(self, task: int) -> Tensor:
        """One image each of so many random other classes."""
        chosen = self.rng.integers(0, len(self.stacks) - 1, self.batch)
        stacks = (self.stacks[c + (c >= task)] for c in chosen.tolist())
        return torch.stack([stack[self.rng.integers(len(stack))] for stack in stacks])
