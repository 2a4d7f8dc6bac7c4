"""Losses against slow, obvious loops that compute the same."""

import math

import pytest
import torch
from helpers import unit_vectors

from oneshot.losses import batch_triplet_loss, identity_loss, random_triplet_loss


def penalty(a, p, n, margin, scale):
    gap = float(a @ n - a @ p)
    return math.log1p(math.exp(scale * gap)) / scale if scale else max(0.0, gap + margin)


@pytest.mark.parametrize("scale", [0.0, 16.0])
def test_random_triplets_pair_row_with_row(scale):
    vectors = unit_vectors(12)
    expected = [penalty(vectors[i], vectors[i + 4], vectors[i + 8], 0.3, scale) for i in range(4)]
    assert random_triplet_loss(vectors, 0.3, scale).item() == pytest.approx(sum(expected) / 4, rel=1e-5)


def test_reference_loss_word_by_word():
    """relu(cos(anchor, negative) - cos(anchor, positive) + 0.3), mean over the batch."""
    vectors = torch.randn(30, 7)
    a, p, n = vectors.chunk(3)
    cosine = torch.nn.CosineSimilarity()
    expected = torch.relu(cosine(a, n) - cosine(a, p) + 0.3).mean()
    unit = torch.nn.functional.normalize(vectors, dim=1)
    assert random_triplet_loss(unit, 0.3, 0.0).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("scale", [0.0, 16.0])
@pytest.mark.parametrize("hardest", [False, True])
@pytest.mark.parametrize(("classes", "each"), [(2, 2), (3, 4), (5, 2)])
def test_batch_triplets_are_all_or_the_hardest(classes, each, hardest, scale):
    vectors, size = unit_vectors(classes * each), classes * each
    expected = []
    for a in range(size):
        positives = [p for p in range(size) if p // each == a // each and p != a]
        negatives = [n for n in range(size) if n // each != a // each]
        if hardest:
            positives = [min(positives, key=lambda p: float(vectors[a] @ vectors[p]))]
            negatives = [max(negatives, key=lambda n: float(vectors[a] @ vectors[n]))]
        expected += [penalty(vectors[a], vectors[p], vectors[n], 0.3, scale) for p in positives for n in negatives]
    loss = batch_triplet_loss(vectors, classes, 0.3, scale, hardest)
    assert loss.item() == pytest.approx(sum(expected) / len(expected), rel=1e-4)


def test_batch_triplet_gradients_agree_with_autograd_of_the_loop():
    vectors = unit_vectors(6).double().requires_grad_()
    slow = [
        torch.nn.functional.softplus(16 * (vectors[a] @ vectors[n] - vectors[a] @ vectors[p])) / 16
        for a in range(6)
        for p in range(6)
        for n in range(6)
        if p // 2 == a // 2 and p != a and n // 2 != a // 2
    ]
    (expected,) = torch.autograd.grad(torch.stack(slow).mean(), vectors)
    (found,) = torch.autograd.grad(batch_triplet_loss(vectors, 3, 0.3, 16.0, False), vectors)
    torch.testing.assert_close(found, expected)


def test_identity_loss_is_the_softmax_of_scaled_cosines():
    vectors, proxies, labels = unit_vectors(4), 3 * unit_vectors(3, seed=1), torch.tensor([0, 2, 1, 0])
    expected = 0.0
    for vector, label in zip(vectors, labels, strict=True):
        logits = [16 * float(vector @ proxy / proxy.norm()) for proxy in proxies]
        expected -= logits[label] - math.log(sum(map(math.exp, logits)))
    assert identity_loss(vectors, labels, proxies, 16.0, 0.0).item() == pytest.approx(expected / 4, rel=1e-4)


def test_a_perfect_embedding_has_no_hinge_loss():
    vectors = torch.eye(3).repeat_interleave(2, 0)
    assert batch_triplet_loss(vectors, 3, 0.3, 0.0, False).item() == 0
    assert batch_triplet_loss(vectors, 3, 1.5, 0.0, False).item() == pytest.approx(0.5)
