"""The exact figures against slow, obvious loops over every pair and triplet."""

from itertools import combinations

import numpy as np
import pytest
import torch
from helpers import raising, refusal, unit_vectors

from oneshot.evaluation import metrics
from oneshot.evaluation.metrics import Verification, measure, on_grid, pair_similarities, similarities, triplet_accuracy


def smooth(count, seed, dimensions=6):
    """Random unit vectors: no two similarities are alike."""
    return unit_vectors(count, dimensions, seed)


def coarse(count, seed):
    """Corners of a cube: cosines are -1, -0.5, 0, 0.5 and 1, so that ties abound."""
    return torch.randint(0, 2, (count, 4), generator=torch.Generator().manual_seed(seed)).float() - 0.5


def some_labels(count, seed):
    """Three classes of different sizes, with gaps between their labels, shuffled."""
    return np.random.default_rng(seed).permutation(([3, 7, 7, 20, 20, 20] * count)[:count])


CASES = [(vectors, seed) for vectors in (smooth, coarse) for seed in (0, 1)]
BOTH = pytest.mark.parametrize(("vectors", "seed"), CASES)


def slow_cosines(left, right):
    left, right = on_grid(left).tolist(), on_grid(right).tolist()
    return [[np.float32(sum(a * b for a, b in zip(x, y, strict=True))) for y in right] for x in left]


def half_ties(higher, lower):
    return 1.0 if higher > lower else 0.5 if higher == lower else 0.0


def slow_triplets(anchors, labels, negatives):
    own = slow_cosines(anchors, anchors)
    other = own if negatives is None else slow_cosines(anchors, negatives)
    won = {}
    for a, label in enumerate(labels):
        for p in range(len(labels)):
            for n in range(len(other[a])):
                if p != a and labels[p] == label and (negatives is not None or labels[n] != label):
                    won.setdefault(int(label), []).append(half_ties(own[a][p], other[a][n]))
    return {label: sum(won[label]) / len(won[label]) for label in sorted(won)}


def slow_pairs(anchors, labels, negatives):
    own = slow_cosines(anchors, anchors)
    pairs = list(combinations(range(len(labels)), 2))
    same = [own[i][j] for i, j in pairs if labels[i] == labels[j]]
    if negatives is None:
        return same, [own[i][j] for i, j in pairs if labels[i] != labels[j]]
    return same, [score for row in slow_cosines(anchors, negatives) for score in row]


def slow_accuracy(same, different, threshold):
    tpr = sum(float(score) >= threshold for score in same) / len(same)
    tnr = sum(float(score) < threshold for score in different) / len(different)
    return (tpr + tnr) / 2


def slow_equal_error_rate(same, different, every):
    best = None
    for threshold in reversed(every):
        false_negatives = sum(score < threshold for score in same)
        false_positives = sum(score >= threshold for score in different)
        gap = abs(false_positives * len(same) - false_negatives * len(different))
        rate = (false_positives / len(different) + false_negatives / len(same)) / 2
        if best is None or gap < best[0]:
            best = gap, rate
    assert best is not None
    return best[1]


def test_a_similarity_is_the_exact_cosine_rounded_once_in_whichever_order_and_block():
    left, right = smooth(5, 1, 64), smooth(7, 2, 64)
    assert np.array_equal(similarities(on_grid(left), on_grid(right)).numpy(), np.array(slow_cosines(left, right)))
    rows = on_grid(smooth(301, 0, 64))
    whole = similarities(rows, rows)
    assert whole.dtype == torch.float32 and torch.equal(whole, whole.T)
    shuffled = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(whole, similarities(rows[:, shuffled], rows[:, shuffled]))
    for size in (1, 7, 100):
        assert torch.equal(whole, torch.cat([similarities(block, rows) for block in rows.split(size)]))


def test_on_grid_changes_less_than_float32_does_and_refuses_what_is_no_number():
    rows = smooth(50, 0, 64)
    assert (on_grid(rows) - rows).abs().max() <= 2.0**-27
    assert torch.equal(on_grid(rows) * 2**26, (on_grid(rows) * 2**26).round())  # so sums of products are exact
    for bad in (torch.nan, torch.inf):
        rows[1, 2] = bad
        assert "diverged" in refusal(on_grid, rows)


@BOTH
@pytest.mark.parametrize("given", [False, True], ids=["among anchors", "given"])
def test_figures_of_a_task_count_every_triplet_and_pair(vectors, seed, given):
    """18 anchors of three classes, and 9 negatives where they are given."""
    anchors, labels, negatives = vectors(18, seed), some_labels(18, seed), vectors(9, seed + 100) if given else None
    per_class = slow_triplets(anchors, labels, negatives)
    found = triplet_accuracy(anchors, labels, negatives)
    assert list(found) == [3, 7, 20] and found == pytest.approx(per_class, abs=1e-15)
    same, different = slow_pairs(anchors, labels, negatives)
    for fast, slow in zip(pair_similarities(anchors, labels, negatives), (same, different), strict=True):
        assert fast.dtype == np.float32 and np.array_equal(np.sort(fast), np.sort(slow))
    figures = measure(anchors, labels, 0.25, negatives)
    assert all(type(value) is float for value in figures.values())
    assert figures["triplet_accuracy"] == pytest.approx(sum(per_class.values()) / 3, abs=1e-15)
    assert figures["binary_accuracy"] == pytest.approx(slow_accuracy(same, different, 0.25), abs=1e-15)
    assert figures["binary_accuracy_fixed"] == pytest.approx(slow_accuracy(same, different, 0.7), abs=1e-15)


def test_pairs_that_do_not_fit_into_memory_are_counted(monkeypatch):
    vectors, labels = smooth(24, 0), some_labels(24, 0)
    monkeypatch.setattr(np, "empty", raising(MemoryError()))
    told = refusal(pair_similarities, vectors, labels)
    assert told.startswith("24 images of 3 classes: found 276 pairs, ") and "must fit into memory" in told


def test_ranking_accuracy_counts_ties_half():
    query, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert metrics.ranking_accuracy(query, torch.stack([query, north]), torch.stack([north, -query])) == (2 + 1.5) / 4


def some_scores():
    """Scores of same and different pairs: of both kinds of vectors, then few on few levels."""
    for vectors, seed in CASES:
        yield pair_similarities(vectors(24, seed), some_labels(24, seed))
    random = np.random.default_rng(0)
    for _ in range(40):
        yield tuple(random.integers(0, 6, random.integers(1, 6)).astype(np.float32) / 6 for _ in range(2))


@pytest.mark.parametrize(("same", "different"), list(some_scores()))
def test_figures_of_pairs_are_those_of_a_loop_over_thresholds(same, different):
    pairs, every = Verification(same, different), sorted({*map(float, same), *map(float, different), np.inf})
    for threshold in (-2.0, -0.5, 0.0, 0.3, float(same[0]), float(different[0]), 0.7, 2.0):
        expected = slow_accuracy(same, different, threshold)
        assert pairs.binary_accuracy(threshold) == pytest.approx(expected, abs=1e-15)
    accuracies = [slow_accuracy(same, different, threshold) for threshold in every]
    accuracy, threshold = pairs.best()
    assert accuracy == pytest.approx(max(accuracies), abs=1e-15)
    assert accuracy == pytest.approx(pairs.binary_accuracy(threshold), abs=1e-15)
    reached = [t for t, value in zip(every, accuracies, strict=True) if value > max(accuracies) - 1e-12]
    assert threshold == max((t for t in reached if t < np.inf), default=threshold)
    slow = sum(half_ties(s, d) for s in same for d in different) / (len(same) * len(different))
    assert pairs.roc_auc() == pytest.approx(slow, abs=1e-15)
    assert pairs.equal_error_rate() == pytest.approx(slow_equal_error_rate(same, different, every), abs=1e-15)

    fpr, tpr, thresholds = pairs.roc_points(40, also=[0.25])
    for row, threshold in enumerate(thresholds):
        assert (tpr[row], fpr[row]) == (np.mean(same >= threshold), np.mean(different >= threshold))
    assert (np.diff(thresholds) < 0).all() and 0.25 in thresholds
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert np.isfinite(thresholds).all() and len(thresholds) <= 41


def test_a_threshold_between_two_float32_numbers_is_not_rounded():
    below, above = np.float32(0.7), np.nextafter(np.float32(0.7), np.float32(1))
    assert float(below) < 0.7 < float(above)  # so a pair at `below` is not the same at threshold 0.7
    assert Verification([above], [below]).binary_accuracy(0.7) == 1.0
    assert Verification([below], [above]).binary_accuracy(0.7) == 0.0
    assert Verification([below], [-1.0]).binary_accuracy(float(below)) == 1.0


@BOTH
@pytest.mark.parametrize("threads", [1, 3])
def test_figures_do_not_depend_on_threads_blocks_or_the_order_of_images(vectors, seed, threads, monkeypatch):
    anchors, labels = vectors(40, seed), some_labels(40, seed)
    negatives = vectors(15, seed + 100)
    plain = [measure(anchors, labels, 0.25, given) for given in (None, negatives)]
    order = np.random.default_rng(seed).permutation(40)
    monkeypatch.setattr(metrics, "BLOCK", 130)  # 1 to 6 rows at a time
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        anchors, labels, negatives = anchors[order], labels[order], negatives.flip(0)
        again = [measure(anchors, torch.from_numpy(labels), 0.25, given) for given in (None, negatives)]
    finally:
        torch.set_num_threads(before)
    assert again == plain


def test_roc_points_follow_the_curve_closely():
    random = np.random.default_rng(0)
    pairs = Verification(random.normal(1, 1, 3000), random.normal(0, 1, 30000))
    fpr, tpr, _ = pairs.roc_points(400)
    assert len(fpr) > 300
    assert np.trapezoid(tpr, fpr) == pytest.approx(pairs.roc_auc(), abs=1e-4)
    assert np.diff(fpr).max() < 0.02
    assert np.diff(tpr).max() < 0.02
    assert (fpr[1:] < 1e-3).sum() > 10  # the corner is seen on a logarithmic axis too


def test_a_collapsed_network_is_as_good_as_chance():
    found = measure(coarse(1, 0).expand(12, 4), np.arange(12) % 3, 0.5)
    assert set(found.values()) == {0.5}
