"""Losses against slow, obvious loops that compute the same."""

import math
from itertools import product

import pytest
import torch
from helpers import tiny_params, unit_vectors

from oneshot.model.losses import make_losses

CLASSES = [3, 0, 2]  # a task's classes come in any order


def losses(**changes):
    """The losses of four classes and six dimensions that these parameters ask for."""
    torch.manual_seed(0)
    return make_losses(tiny_params({f"loss.{name}": value for name, value in changes.items()}).loss, 4, 6)


def triplet_loss(vectors, classes, mining, scale=0.0, weight=1.0):
    """The triplet loss of vectors (classes * K, D) that lie class after class."""
    (loss,) = losses(softmax_weight=0.0, triplet_weight=weight, mining=mining, soft_scale=scale)
    labels = torch.arange(classes).repeat_interleave(len(vectors) // classes)
    return loss(vectors, labels, torch.arange(classes), classes)


def penalty(a, p, n, scale):
    gap = float(a @ n - a @ p)
    return math.log1p(math.exp(scale * gap)) / scale if scale else max(0.0, gap + 0.3)  # as the reference's


@pytest.mark.parametrize("scale", [0.0, 16.0])
def test_random_triplets_pair_row_with_row(scale):
    vectors = unit_vectors(12)
    expected = sum(penalty(vectors[i], vectors[i + 4], vectors[i + 8], scale) for i in range(4)) / 4
    found = triplet_loss(vectors, 3, "random", scale, weight=0.5)
    assert found.item() == pytest.approx(0.5 * expected, rel=1e-5)


@pytest.mark.parametrize("scale", [0.0, 16.0])
@pytest.mark.parametrize("mining", ["all", "hard"])
@pytest.mark.parametrize(("classes", "each"), [(2, 2), (3, 4), (4, 2)])
def test_batch_triplets_are_all_or_the_hardest(classes, each, mining, scale):
    vectors, size = unit_vectors(classes * each), classes * each
    expected = []
    for a in range(size):
        positives = [p for p in range(size) if p // each == a // each and p != a]
        negatives = [n for n in range(size) if n // each != a // each]
        if mining == "hard":
            positives = [min(positives, key=lambda p: float(vectors[a] @ vectors[p]))]
            negatives = [max(negatives, key=lambda n: float(vectors[a] @ vectors[n]))]
        expected += [penalty(vectors[a], vectors[p], vectors[n], scale) for p in positives for n in negatives]
    found = triplet_loss(vectors, classes, mining, scale, weight=2.0)
    assert found.item() == pytest.approx(2 * sum(expected) / len(expected), rel=1e-4)


def test_batch_triplet_gradients_agree_with_autograd_of_the_loop():
    vectors = unit_vectors(6).double().requires_grad_()
    slow = [
        torch.nn.functional.softplus(16 * (vectors[a] @ vectors[n] - vectors[a] @ vectors[p])) / 16
        for a, p, n in product(range(6), repeat=3)
        if p // 2 == a // 2 and p != a and n // 2 != a // 2
    ]
    (expected,) = torch.autograd.grad(torch.stack(slow).mean(), vectors)
    (found,) = torch.autograd.grad(triplet_loss(vectors, 3, "all", 16.0), vectors)
    torch.testing.assert_close(found, expected)


def test_softmax_decides_among_the_tasks_classes_by_scaled_cosines():
    (loss,) = losses(triplet_weight=0.0, softmax_weight=2.0, softmax_scale=16.0)
    proxies, vectors, labels = loss.proxies.detach(), unit_vectors(4), [0, 2, 3, 0]
    expected = 0.0
    for vector, label in zip(vectors, labels, strict=True):
        logits = {c: 16 * float(vector @ proxies[c] / proxies[c].norm()) for c in CLASSES}
        expected -= logits[label] - math.log(sum(map(math.exp, logits.values())))
    within = torch.tensor([CLASSES.index(label) for label in labels])
    found = loss(vectors, within, torch.tensor(CLASSES), 3)
    assert found.item() == pytest.approx(2 * expected / 4, rel=1e-4)
    found.backward()
    assert (loss.proxies.grad.norm(dim=1) > 0).tolist() == [True, False, True, True]
