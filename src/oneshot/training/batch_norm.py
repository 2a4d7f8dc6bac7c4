"""Batch norm over a batch that several processes share: its statistics are those of the whole batch.

torch's SyncBatchNorm does the same between GPUs alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
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
        with torch.no_grad():
            _, mean, inverse = torch.native_batch_norm(x, self.weight, self.bias, None, None, True, 0.0, self.eps)
            var = inverse**-2 - self.eps
            mean, square = _mean(mean, var + mean**2)
            var = (square - mean**2).clamp(min=0)  # rounding
            count = x.numel() // x.shape[1] * distributed.WORLD_SIZE
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (count / (count - 1)), self.momentum)
        return _Normalised.apply(x, self.weight, self.bias, mean, var, self.eps)


class _Normalised(torch.autograd.Function):
    """Normalisation by statistics that depend on the features of all processes."""

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
        context.save_for_backward(x, weight, mean, (var + eps).rsqrt())
        context.eps = eps
        return F.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse = context.saved_tensors
        # As if this process held the whole batch, and the sums over its part in the gradients of weight and bias.
        mine, scales, shifts = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, None, None, mean, inverse, True, context.eps, [True, True, True]
        )
        count = x.numel() // x.shape[1]
        all_scales, all_shifts = _mean(scales, shifts)
        slope = weight * inverse**2 * (scales - all_scales) / count
        offset = weight * inverse * (shifts - all_shifts) / count - slope * mean
        shape = [1, -1] + [1] * (x.ndim - 2)
        whole = torch.addcmul(offset.view(shape), slope.view(shape), x) + mine
        return whole.to(x.dtype), scales, shifts, None, None, None


def _mean(*values: Tensor) -> tuple[Tensor, ...]:
    """Means over all processes."""
    total = torch.stack([*values])
    distributed.all_reduce([total])
    return (total / distributed.WORLD_SIZE).unbind()
