"""Optimizers of the trainings and of adaptation: SGD, Adam, and Muon, which makes a convolution's step orthogonal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

OptimizerName = Literal["muon", "sgd", "adam"]

# Coefficients and number of the iterations, as Muon's authors tuned them.
NEWTON_SCHULZ, ITERATIONS = (3.4445, -4.7750, 2.0315), 5


def make_optimizer(
    weights: Sequence[Tensor],
    kind: str,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    bf16: bool = False,
) -> torch.optim.Optimizer:
    """`sgd` and `muon` (Nesterov where momentum is above 0) or `adam` (beta1 = momentum).

    Args:
        weight_decay: of `sgd` and `adam`. It spares everything but convolutions: batch norm undoes the scale of
            those alone. `muon` has none, since it sets that scale.
        bf16: whether `muon` multiplies matrices in bfloat16.
    """
    if kind == "muon":
        return Muon(weights, learning_rate, momentum, bf16)
    on_gpu = weights[0].is_cuda  # there a step is recorded and repeated: its learning rate is a tensor
    groups = [
        {"params": [w for w in weights if w.ndim == 4], "weight_decay": weight_decay},
        {"params": [w for w in weights if w.ndim != 4], "weight_decay": 0.0},
    ]
    if kind == "adam":
        return torch.optim.Adam(groups, lr=learning_rate, betas=(momentum, 0.999), capturable=on_gpu)
    return torch.optim.SGD(groups, lr=learning_rate, momentum=momentum, nesterov=momentum > 0, fused=on_gpu or None)


class Muon(torch.optim.Optimizer):
    """SGD with Nesterov's momentum, whose step on a convolution is orthogonal (Jordan et al. 2024, "Muon").

    A convolution's step is a matrix (filters, inputs x height x width). SGD's has a few large singular values, so
    that a few directions learn and the others hardly move; here all are made equal. Before each step a convolution
    is scaled to filters of norm 1, in the mean of their squares, which batch norm does not notice: so the learning
    rate is the share of the weights that a step replaces. Everything else takes the steps of SGD.

    Args:
        learning_rate: > 0; a schedule may change `lr` of the parameter groups, to a scalar tensor too.
        momentum: 0..1.
        bf16: multiply matrices in bfloat16, for machines with units for it; else in float32.
    """

    def __init__(self, weights: Sequence[Tensor], learning_rate: float, momentum: float, bf16: bool = False) -> None:
        super().__init__(weights, {"lr": learning_rate, "momentum": momentum})
        self.dtype = torch.bfloat16 if bf16 else torch.float32

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure
        """Take one step."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                buffer = state["momentum_buffer"].mul_(group["momentum"]).add_(weight.grad)
                step = weight.grad.add(buffer, alpha=group["momentum"])
                if weight.ndim == 4:
                    normalize_weight(weight)
                    last = step.permute(0, 2, 3, 1)  # as it lies in memory; the order of columns does not matter
                    step = orthogonal(last.flatten(1), self.dtype).view(last.shape).permute(0, 3, 1, 2)
                if isinstance(group["lr"], Tensor):
                    weight.sub_(step * group["lr"])
                else:
                    weight.sub_(step, alpha=group["lr"])


@torch.no_grad()
def normalize_weight(weight: Tensor) -> None:
    """Scale `weight` (N, ...), in place and as a whole, to rows of norm 1 in the mean of their squares."""
    weight.mul_(len(weight) ** 0.5 / weight.norm())


def orthogonal(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """About the (semi-)orthogonal matrix nearest to `matrix` (M, N): U V^T of its U S V^T; float32.

    Newton-Schulz iterations need matrix products alone. They leave singular values near 1, not at it, which matters
    little (Jordan et al. 2024).
    """
    a, b, c = NEWTON_SCHULZ
    x = (matrix / (matrix.norm() + 1e-7)).to(dtype)
    if tall := len(x) > x.shape[1]:
        x = x.T
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).float().contiguous()
