"""Arithmetic on lists of tensors of several shapes, and an optimizer's state taken and given back."""

import pytest
import torch

from oneshot.model.optimizers import make_optimizer
from oneshot.training.weights import assign, clone, mean, move, optimizer_state, set_optimizer_state, subtract


def lists(*values):
    """For each value a list of a vector and a matrix that are full of it."""
    return [[torch.full((2,), value), torch.full((2, 3), value)] for value in values]


def same(left, right):
    return len(left) == len(right) and all(map(torch.equal, left, right))


def test_arithmetic():
    three, one, two = lists(3.0, 1.0, 2.0)
    assert same(subtract(three, one), two)
    assert same(mean([one, three], 2), two) and same(mean([three], 3), one)
    move(one, three, -0.5)
    assert same(one, lists(-0.5)[0])
    copies = clone(one)
    assign(one, three)
    assert same(one, three) and same(copies, lists(-0.5)[0])


@pytest.mark.parametrize("kind", ["sgd", "adam", "muon"])
def test_an_optimizer_goes_back_to_a_state(kind):
    weights = [torch.ones(3, requires_grad=True), torch.ones(2, 2, 1, 1, requires_grad=True)]
    optimizer = make_optimizer(weights, kind, 0.1, 0.9, 0.0)

    def step():
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        optimizer.step()
        return clone(optimizer_state(optimizer))

    assert clone(optimizer_state(optimizer)) == []
    first = step()
    second = step()
    assert len(first) == len(second) and not same(first, second)
    set_optimizer_state(optimizer, first)
    assert same(step(), second)
    set_optimizer_state(optimizer, [])
    assert same(step(), first)
