"""Batch norm over a batch that several processes share: its statistics are those of the whole batch.

torch's SyncBatchNorm does the same between GPUs alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from oneshot.hardware import distributed
from oneshot.model.network import batch_norms


def share_statistics(network: nn.Module) -> None:
    """Turn the batch norms of `network` into shared ones, in place; weights and names stay."""
    for layer in batch_norms(network):
        layer.__class__ = SharedBatchNorm  # type: ignore[assignment]


class SharedBatchNorm(_BatchNorm):
    """Batch norm (Ioffe & Szegedy 2015, algorithm 1), in which each process holds an equal part of the batch."""

    def _check_input_dim(self, x: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, C) or (B, C, H, W), normalised; in training by statistics of all processes' parts."""
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        others = [d for d in range(x.ndim) if d != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        values = x.float()
        var, mean = torch.var_mean(values, others, correction=0)
        mean, square = distributed.summed(torch.stack([mean, var + mean**2])) / distributed.WORLD_SIZE
        var = square - mean**2
        with torch.no_grad():
            count = x.numel() // x.shape[1] * distributed.WORLD_SIZE
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (count / (count - 1)), self.momentum)
        scale = self.weight * (var + self.eps).rsqrt()
        return torch.addcmul((self.bias - mean * scale).view(shape), values, scale.view(shape)).to(x.dtype)
