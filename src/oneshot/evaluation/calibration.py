"""Choosing the cosine threshold above which two images are called the same class.

The pairs must come from images that training never saw, and never from unseen classes.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from oneshot.common.params import Float, Group
from oneshot.evaluation.metrics import Verification

Counts = NDArray[np.int64]
Criterion = Literal["balanced", "eer", "fpr"]


class ThresholdParams(Group):
    """The group `threshold`."""

    criterion: Criterion
    target_fpr: Annotated[Float, Field(gt=0, lt=1)]


class Calibration(NamedTuple):
    """A threshold, the rates that it has on the calibration pairs, and the criterion that chose it."""

    threshold: float
    tpr: float
    fpr: float
    criterion: str


def calibrate(pairs: Verification, criterion: Criterion, target_fpr: float = 0.05) -> Calibration:
    """Choose a threshold on the ROC curve; a pair is called same if its similarity >= threshold.

    Criteria:
        balanced: the highest (TPR + TNR) / 2, that is Youden's J.
        eer: the smallest |FPR - FNR|.
        fpr: the highest TPR with FPR <= `target_fpr`, in 0..1.
    Of equally good thresholds the highest is taken: the fewest false positives. The threshold returned lies midway
    between the lowest score that is accepted and the highest that is rejected, so that rounding on another machine
    does not carry a pair across. The rates are the same.
    """
    scores = np.unique(np.concatenate([pairs.same, pairs.different]))[::-1]
    thresholds = np.concatenate([[np.nextafter(scores[0], np.float32(np.inf))], scores])  # the first accepts none
    chosen = int(np.argmax(_merits(*pairs.accepted(thresholds), criterion, target_fpr)))
    tpr, fpr = pairs.rates(thresholds[chosen])
    return Calibration(_midway(thresholds, chosen), float(tpr), float(fpr), criterion)


def roc_table(pairs: Verification, calibration: Calibration, points: int = 400) -> list[dict[str, float]]:
    """The ROC curve as rows of a plot's table, thinned to at most `points` and the chosen threshold.

    Returns:
        Rows of fpr, tpr, threshold and chosen (1 in the row of the calibrated threshold, else 0), by
        falling threshold, from (0, 0) to (1, 1).
    """
    curve = pairs.roc_points(points, also=[calibration.threshold])
    return [
        {"fpr": fpr, "tpr": tpr, "threshold": threshold, "chosen": int(threshold == calibration.threshold)}
        for fpr, tpr, threshold in zip(*(values.tolist() for values in curve), strict=True)
    ]


def _merits(accepted_same: Counts, accepted_different: Counts, criterion: Criterion, target_fpr: float) -> Counts:
    """How good each threshold is, by falling threshold; in whole numbers, so that ties are ties."""
    same, different = accepted_same[-1], accepted_different[-1]  # the last accepts all
    if criterion == "balanced":
        return accepted_same * different - accepted_different * same
    if criterion == "eer":
        return -np.abs(accepted_different * same - (same - accepted_same) * different)
    return np.where(accepted_different / different <= target_fpr, accepted_same, -1)


def _midway(thresholds: NDArray[np.float32], chosen: int) -> float:
    """A float32 that accepts the scores down to the chosen one, midway to the next one where there is one."""
    accepted = float(thresholds[chosen])
    if chosen in (0, len(thresholds) - 1):  # none or all accepted
        return accepted
    rejected = float(thresholds[chosen + 1])
    middle = np.float32((accepted + rejected) / 2)
    return float(middle) if rejected < middle <= accepted else accepted
