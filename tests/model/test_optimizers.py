"""SGD, Adam, and Muon beside torch's own and beside a singular value decomposition."""

import pytest
import torch
from helpers import tiny_learner, tiny_params

from oneshot.model.optimizers import Muon, make_optimizer


def test_decay_spares_all_but_convolutions_and_momentum_is_nesterovs_or_adams_beta1():
    weights = tiny_learner(tiny_params()).weights()
    decayed, spared = make_optimizer(weights, "sgd", 0.1, 0.9, 0.01).param_groups
    assert {w.ndim for w in decayed["params"]} == {4} and decayed["weight_decay"] == 0.01 and decayed["nesterov"]
    assert 4 not in {w.ndim for w in spared["params"]} and spared["weight_decay"] == 0
    assert len(decayed["params"]) + len(spared["params"]) == len(weights)
    assert make_optimizer(weights, "adam", 0.1, 0.0, 0.0).defaults["betas"] == (0.0, 0.999)


def steps_of(optimizer, weights, gradients, before_step=lambda: None):
    for step in gradients:
        for weight, gradient in zip(weights, step, strict=True):
            weight.grad = gradient.clone()
        before_step()
        optimizer.step()


@pytest.mark.parametrize("bf16", [True, False])
@pytest.mark.parametrize("filters", [8, 40])
def test_steps_on_convolutions_are_those_of_torch(bf16, filters):
    rng = torch.Generator().manual_seed(0)
    weight = torch.randn(filters, 3, 3, 3, generator=rng)
    gradients = [[torch.randn(filters, 3, 3, 3, generator=rng)] for _ in range(6)]
    ours, theirs = weight.clone().requires_grad_(), weight.flatten(1).clone().requires_grad_()

    def scale():
        theirs.data *= filters**0.5 / theirs.data.norm()

    steps_of(Muon([ours], 0.1, 0.9, bf16), [ours], gradients)
    rate = 0.1 / max(1, filters / 27) ** 0.5  # torch takes longer steps of tall matrices
    muon = torch.optim.Muon([theirs], rate, weight_decay=0.0, momentum=0.9)
    steps_of(muon, [theirs], [[g.flatten(1)] for (g,) in gradients], scale)
    # Columns are in another order, and bfloat16 has 8 bits: each step may differ by some hundredths of itself.
    torch.testing.assert_close(ours.flatten(1), theirs, rtol=0, atol=0.005)


def test_steps_on_all_else_are_those_of_sgd():
    rng = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=rng) for shape in ((5,), (4, 6))]
    gradients = [[torch.randn(w.shape, generator=rng) for w in start] for _ in range(5)]
    ours, theirs = ([w.clone().requires_grad_() for w in start] for _ in range(2))
    steps_of(Muon(ours, 0.1, 0.9), ours, gradients)
    steps_of(torch.optim.SGD(theirs, 0.1, 0.9, nesterov=True), theirs, gradients)
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected)
