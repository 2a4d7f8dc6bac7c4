"""Choosing the cosine threshold above which two images are called the same class.

The pairs must come from images that training never saw, and never from unseen classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_curve

from oneshot.errors import UserError
from oneshot.metrics import Verification

Counts = NDArray[np.float64]


class Calibration(NamedTuple):
    """A threshold, the rates that it has on the calibration pairs, and the criterion that chose it."""

    threshold: float
    tpr: float
    fpr: float
    criterion: str


def calibrate(same: ArrayLike, different: ArrayLike, criterion: str, target_fpr: float = 0.05) -> Calibration:
    """Choose a threshold on the ROC curve; a pair is called same if its similarity >= threshold.

    Criteria:
        balanced: the highest (TPR + TNR) / 2, that is Youden's J.
        eer: the smallest |FPR - FNR|.
        fpr: the highest TPR with FPR <= `target_fpr`.
    Of equally good thresholds the highest is taken: the fewest false positives. The curve gives the lowest
    score that is accepted; the threshold returned lies midway to the highest score that is rejected, so
    that rounding on another machine does not carry a pair across. The rates are the same.

    Args:
        same, different: 1-D similarities of same and of different pairs, as float32.
        target_fpr: in 0..1, used by `fpr` alone.

    Raises:
        UserError: no same or no different pair, NaN among them, or an unknown criterion.
    """
    if criterion not in _CRITERIA:
        raise UserError(f"threshold_criterion: found {criterion!r}; must be one of {', '.join(_CRITERIA)}")
    same, different = _scores("same", same), _scores("different", different)
    # Every point, since the best may be one that a drawing of the curve could leave out.
    fpr, tpr, thresholds = roc_curve(
        np.repeat([1, 0], [len(same), len(different)]),
        np.concatenate([same, different]),
        drop_intermediate=False,
    )
    # Whole numbers, exact in float64, so that ties are ties.
    true_positives, false_positives = np.rint(tpr * len(same)), np.rint(fpr * len(different))
    chosen = _CRITERIA[criterion](true_positives, false_positives, target_fpr)
    threshold = _between(thresholds.astype(np.float32), chosen)
    return Calibration(threshold, float(tpr[chosen]), float(fpr[chosen]), criterion)


def roc_table(
    same: ArrayLike, different: ArrayLike, calibration: Calibration, points: int = 400
) -> list[dict[str, float]]:
    """The ROC curve as rows of a plot's table, thinned to at most `points` and the chosen threshold.

    Returns:
        Rows of fpr, tpr, threshold and chosen (1 in the row of the calibrated threshold, else 0), by
        falling threshold, from (0, 0) to (1, 1).
    """
    curve = Verification(same, different).roc_points(points, also=[calibration.threshold])
    return [
        {"fpr": fpr, "tpr": tpr, "threshold": threshold, "chosen": int(threshold == calibration.threshold)}
        for fpr, tpr, threshold in zip(*(values.tolist() for values in curve), strict=True)
    ]


def _balanced(true_positives: Counts, false_positives: Counts, _: float) -> int:
    return int(np.argmax(true_positives * false_positives[-1] - false_positives * true_positives[-1]))


def _equal_errors(true_positives: Counts, false_positives: Counts, _: float) -> int:
    false_negatives = true_positives[-1] - true_positives
    return int(np.argmin(np.abs(false_positives * true_positives[-1] - false_negatives * false_positives[-1])))


def _at_most_fpr(true_positives: Counts, false_positives: Counts, target_fpr: float) -> int:
    last = np.searchsorted(false_positives / false_positives[-1], target_fpr, side="right") - 1
    return int(np.searchsorted(true_positives, true_positives[last]))


# Each gets counts by falling threshold, the last ones being all pairs, and returns a position.
_CRITERIA: dict[str, Callable[[Counts, Counts, float], int]] = {
    "balanced": _balanced,
    "eer": _equal_errors,
    "fpr": _at_most_fpr,
}


def _between(thresholds: NDArray[np.float32], chosen: int) -> float:
    """A float32 that accepts the scores down to the chosen one, midway to the next one where there is one."""
    if chosen + 1 == len(thresholds):
        return float(thresholds[chosen])  # all pairs accepted
    accepted, rejected = float(thresholds[chosen]), float(thresholds[chosen + 1])
    if chosen == 0:  # none accepted: scikit-learn's infinity, which no JSON file can hold
        return float(np.nextafter(thresholds[1], np.float32(np.inf)))
    middle = np.float32((accepted + rejected) / 2)
    return float(middle) if rejected < middle <= accepted else accepted


def _scores(name: str, values: ArrayLike) -> NDArray[np.float32]:
    scores = np.asarray(values, dtype=np.float32)
    if scores.ndim != 1 or not len(scores):
        raise UserError(f"{name} pairs: found none; calibration needs 2 images of a class, and 2 classes")
    if np.isnan(scores).any():
        raise UserError(f"{name} pairs: found NaN; similarities must be numbers")
    return scores
