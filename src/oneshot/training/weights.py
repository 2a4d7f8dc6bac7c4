"""Arithmetic on lists of tensors: weights, and an optimizer's state."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def clone(weights: Sequence[Tensor]) -> list[Tensor]:
    """Copies."""
    return [weight.clone() for weight in weights]


def assign(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """weights = values, in place."""
    if weights:
        torch._foreach_copy_(list(weights), list(values))


def subtract(weights: Sequence[Tensor], others: Sequence[Tensor]) -> list[Tensor]:
    """weights - others."""
    return list(torch._foreach_sub(list(weights), list(others)))


def move(weights: Sequence[Tensor], directions: Sequence[Tensor], size: float) -> None:
    """weights += size * directions, in place."""
    torch._foreach_add_(list(weights), list(directions), alpha=size)


def mean(lists: Sequence[Sequence[Tensor]], count: int) -> list[Tensor]:
    """The sum of lists of tensors divided by `count`: their mean, or one process's share of it."""
    return [torch.stack([value / count for value in values]).sum(0) for values in zip(*lists, strict=True)]


def optimizer_state(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """All tensors of an optimizer's state, themselves; none before its first step."""
    states = optimizer.state.values()
    return [value for state in states for value in state.values() if isinstance(value, Tensor)]


def set_optimizer_state(optimizer: torch.optim.Optimizer, values: Sequence[Tensor]) -> None:
    """Go back, in place, to a copy of `optimizer_state`; none: to the state before the first step, which is zeros."""
    state = optimizer_state(optimizer)
    assign(state, values or [torch.zeros_like(value) for value in state])
