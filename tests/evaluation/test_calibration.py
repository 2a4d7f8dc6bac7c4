"""Thresholds against a loop over every threshold that could matter, and against scikit-learn."""

import numpy as np
import pytest

from oneshot.evaluation.calibration import calibrate, roc_table
from oneshot.evaluation.metrics import Verification

CRITERIA = [("balanced", 0.05), ("eer", 0.05), ("fpr", 0.05), ("fpr", 0.3), ("fpr", 1e-6)]


def scores(seed, levels):
    """Overlapping scores of same and different pairs, on few levels where ties are wanted."""
    random = np.random.default_rng(seed)
    same, different = random.normal(0.3, 0.3, 60), random.normal(0, 0.3, 150)
    return tuple((np.round(values * levels) / levels).astype(np.float32) for values in (same, different))


def counts(same, different, threshold):
    return sum(float(s) >= threshold for s in same), sum(float(d) >= threshold for d in different)


def slow(same, different, criterion, target_fpr):
    """The lowest score that the best threshold accepts (infinity: none), and the highest that it rejects."""
    every = [np.inf, *sorted({*map(float, same), *map(float, different)}, reverse=True)]
    best = None
    for position, threshold in enumerate(every):
        tp, fp = counts(same, different, threshold)
        if criterion == "balanced":
            merit = tp * len(different) + (len(different) - fp) * len(same)
        elif criterion == "eer":
            merit = -abs(fp * len(same) - (len(same) - tp) * len(different))
        else:
            merit = tp if fp / len(different) <= target_fpr else -1
        if best is None or merit > best[0]:
            best = merit, threshold, every[position + 1] if position + 1 < len(every) else -np.inf
    assert best is not None
    return best[1:]


@pytest.mark.parametrize(("seed", "levels"), [(0, 5), (1, 5), (0, 10**6), (1, 10**6)])
@pytest.mark.parametrize(("criterion", "target_fpr"), CRITERIA)
def test_threshold_is_the_best_of_all(seed, levels, criterion, target_fpr):
    same, different = scores(seed, levels)
    found = calibrate(Verification(same, different), criterion, target_fpr)
    accepted, rejected = slow(same, different, criterion, target_fpr)
    assert rejected < found.threshold <= accepted
    tp, fp = counts(same, different, found.threshold)
    assert (tp, fp) == counts(same, different, accepted)
    assert (found.tpr, found.fpr) == (tp / len(same), fp / len(different))
    assert found.criterion == criterion
    assert float(np.float32(found.threshold)) == found.threshold
    assert criterion != "fpr" or found.fpr <= target_fpr


@pytest.mark.parametrize(
    ("same", "different", "criterion", "expected"),
    [
        ([0.75, 0.5], [0.25, 0.0], "balanced", (0.375, 1.0, 0.0)),  # midway
        # Of equally good ones the highest. At 0.8: TPR 1/2, FPR 0; at 0.4: TPR 1, FPR 1/2; both balance to 3/4.
        ([0.8, 0.4], [0.6, 0.2], "balanced", (0.7, 0.5, 0.0)),
        ([0.8, 0.1], [0.6, 0.2], "fpr", (0.7, 0.5, 0.0)),  # FPR may be 1/2, yet the first brings no true one
        ([0.9, 0.1], [0.5, 0.0], "fpr", (0.05, 1.0, 0.5)),  # the highest target accepts every same pair
    ],
)
def test_thresholds_by_hand(same, different, criterion, expected):
    assert calibrate(Verification(same, different), criterion, 0.5)[:3] == pytest.approx(expected)


@pytest.mark.parametrize("criterion", ["balanced", "eer", "fpr"])
def test_scores_the_wrong_way_round_or_all_alike_give_a_finite_threshold(criterion):
    found = calibrate(Verification([0.1, 0.2], [0.8, 0.9]), criterion, 0.05)
    assert np.isfinite(found.threshold)
    if criterion != "eer":
        assert (found.tpr, found.fpr) == (0.0, 0.0) and found.threshold > np.float32(0.9)
    assert calibrate(Verification([0.5], [0.5]), criterion, 0.05).threshold == pytest.approx(0.5)
    above = np.nextafter(np.float32(0.5), np.float32(1))
    assert calibrate(Verification([above], [0.5]), criterion, 0.05).threshold == above  # of neighbours the upper one


def test_roc_table_is_the_curve_with_the_chosen_threshold_marked():
    pairs = Verification(*scores(0, 10**6))
    chosen = calibrate(pairs, "balanced")
    rows, curve = roc_table(pairs, chosen, points=30), pairs.roc_points(30, also=[chosen.threshold])
    assert [(row["fpr"], row["tpr"], row["threshold"]) for row in rows] == list(zip(*curve, strict=True))
    marked = [row for row in rows if row["chosen"]]
    assert marked == [{"fpr": chosen.fpr, "tpr": chosen.tpr, "threshold": chosen.threshold, "chosen": 1}]
