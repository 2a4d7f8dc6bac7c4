"""How well embeddings tell classes apart: exact counts over all pairs and all triplets, nothing sampled.

Embeddings are float32 unit vectors on the CPU; a pair's similarity is its cosine, one float32 number
whatever the order of images or the size of blocks. Memory stays near that of the pairs, four bytes each.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from oneshot.common.errors import UserError

Scores = NDArray[np.float32]
Labels = Tensor | NDArray[np.integer]

REFERENCE_THRESHOLD = 0.7  # which nobody calibrated: measured beside the calibrated one
_GRID = 2.0**26
BLOCK = 2**22  # similarities computed at a time: 32 MiB in float64


def on_grid(embeddings: Tensor) -> Tensor:
    """Round to multiples of 2^-26, in float64: unit vectors (..., D) in and out; zeros may be among them.

    Products of such coordinates are multiples of 2^-52, and sums of them stay below 2, so float64 adds
    them without any rounding: matrix products are exact, in whatever order a library adds. The rounding
    itself is finer than that of the largest coordinates in float32.

    Raises:
        UserError: NaN or infinity among the embeddings.
    """
    if not torch.isfinite(embeddings).all():
        raise UserError(
            "embeddings: found NaN or infinity: the training diverged; "
            "lower classic.learning_rate, reptile.inner_learning_rate or adaptation.learning_rate"
        )
    return embeddings.double().mul(_GRID).round_().div_(_GRID)


def similarities(left: Tensor, right: Tensor) -> Tensor:
    """Cosines (N, M), float32, of (N, D) and (M, D) vectors from `on_grid`: exact, then rounded once."""
    return (left @ right.T).float()


def triplet_accuracy(anchors: Tensor, labels: Labels, negatives: Tensor | None = None) -> dict[int, float]:
    """For each class, how often cos(anchor, positive) > cos(anchor, negative), over all its triplets.

    The anchor is any image of the class, the positive any other one, the negative any image of another
    class. Ties count half. The figure of a group of classes is the mean of the values.

    Args:
        anchors: (N, D) unit vectors, at least 2 of a class.
        labels: (N,) whole numbers.
        negatives: (M, D) unit vectors of other classes, all of them taken as negatives; None: the anchors
            with other labels.

    Returns:
        label -> accuracy in 0..1, by ascending label.
    """
    return {label: _triplets_won(own, others) for label, own, others in _classes(anchors, labels, negatives, torch.ne)}


def _triplets_won(anchors: Tensor, negatives: Tensor) -> float:
    half_wins = 0
    for first, block in _blocks(anchors, len(anchors) + len(negatives)):
        positive = similarities(block, anchors)
        positive.diagonal(first).fill_(-torch.inf)  # an anchor beside itself never wins
        negative = torch.from_numpy(np.sort(similarities(block, negatives).numpy()))
        for tied_too in (False, True):  # a negative below the positive counts twice, an equal one once
            half_wins += int(torch.searchsorted(negative, positive, right=tied_too).sum())
    return half_wins / (2 * len(anchors) * (len(anchors) - 1) * len(negatives))


def ranking_accuracy(query: Tensor, positives: Tensor, negatives: Tensor) -> float:
    """How often a positive is nearer to the one query (D,) than a negative is; (P, D) and (M, D). Ties count half."""
    exact = on_grid(query[None])
    nearness = [similarities(exact, on_grid(vectors)).numpy()[0] for vectors in (positives, negatives)]
    return Verification(*nearness).roc_auc()


def pair_similarities(anchors: Tensor, labels: Labels, negatives: Tensor | None = None) -> tuple[Scores, Scores]:
    """Similarities of all unordered pairs of one class, and of all pairs of different classes.

    Args:
        anchors: (N, D) unit vectors.
        labels: (N,) whole numbers.
        negatives: (M, D) unit vectors of other classes; the different pairs are then each anchor with each
            of them, rather than pairs of anchors.

    Returns:
        same, different: 1-D float32, in no particular order.

    Raises:
        UserError: pairs that do not fit into memory.
    """
    _, sizes = torch.as_tensor(labels).unique(return_counts=True)
    counts = [int(sizes.square().sum() - len(anchors)) // 2, int(len(anchors) ** 2 - sizes.square().sum()) // 2]
    if negatives is not None:
        counts[1] = len(anchors) * len(negatives)
    try:  # and fill them piece by piece: to join pieces would take their memory twice
        same, different = (np.empty(count, dtype=np.float32) for count in counts)
    except MemoryError:
        raise UserError(
            f"{len(anchors):,} images of {len(sizes)} classes: found {sum(counts):,} pairs, of 4 bytes each, which "
            "must fit into memory; close other programs, lower split.calibration_images or take fewer test images"
        ) from None
    filled_same = filled_different = 0
    for _, own, others in _classes(anchors, labels, negatives, torch.gt):
        for first, block in _blocks(own, len(own) + len(others)):
            within = similarities(block, own[first:]).numpy()
            found = within[np.triu_indices(len(block), 1, within.shape[1])]
            same[filled_same : filled_same + len(found)] = found
            filled_same += len(found)
            across = similarities(block, others).numpy().ravel()
            different[filled_different : filled_different + len(across)] = across
            filled_different += len(across)
    return same, different


class Verification:
    """Same class or not, by a threshold on similarity: everything a ROC curve holds, exactly.

    A pair is called same if its similarity >= threshold. TPR is the share of same pairs called same, FPR
    that of different pairs, FNR = 1 - TPR, TNR = 1 - FPR. All is counted in whole numbers and divided once.
    The scores are sorted once (O(n log n)); a threshold then costs two binary searches.

    Args:
        same, different: 1-D similarities of same and of different pairs, at least one of each. An array of float32 is
            sorted itself, which saves its memory.
    """

    def __init__(self, same: ArrayLike, different: ArrayLike) -> None:
        self.same, self.different = (np.asarray(scores, dtype=np.float32) for scores in (same, different))
        self.same.sort()
        self.different.sort()

    def accepted(self, thresholds: Scores) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many same and how many different pairs are called same at float32 thresholds, of their shape."""
        accepted_same = len(self.same) - np.searchsorted(self.same, thresholds)
        return accepted_same, len(self.different) - np.searchsorted(self.different, thresholds)

    def rates(self, thresholds: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """TPR and FPR at float32 thresholds, of their shape."""
        accepted_same, accepted_different = self.accepted(thresholds)
        return accepted_same / len(self.same), accepted_different / len(self.different)

    def binary_accuracy(self, threshold: float) -> float:
        """(TPR + TNR) / 2 at a threshold."""
        return float(self._balanced(np.array([float32_at_least(threshold)]))[0])

    def best(self) -> tuple[float, float]:
        """The highest `binary_accuracy` of all thresholds, and the highest score of a pair that reaches it."""
        # Raising a threshold to the next score of a same pair loses no TPR: only these need be tried.
        accuracies = self._balanced(self.same)
        best = len(accuracies) - 1 - int(np.argmax(accuracies[::-1]))
        return float(accuracies[best]), float(self.same[best])

    def _balanced(self, thresholds: Scores) -> NDArray[np.float64]:
        accepted_same, accepted_different = self.accepted(thresholds)
        both = accepted_same * len(self.different) + (len(self.different) - accepted_different) * len(self.same)
        return both / (2 * len(self.same) * len(self.different))

    def roc_auc(self) -> float:
        """Area under the ROC curve: how often a same pair scores above a different one, ties half."""
        below = np.searchsorted(self.different, self.same).sum()
        below_or_tied = np.searchsorted(self.different, self.same, side="right").sum()
        return float((below + below_or_tied) / (2 * len(self.same) * len(self.different)))

    def equal_error_rate(self) -> float:
        """(FPR + FNR) / 2 at the threshold where |FPR - FNR| is smallest; of two such, at the higher one."""
        # FNR - FPR grows with every score that the threshold passes: neighbouring scores enclose 0.
        near = [np.float32(np.inf)]
        for scores in (self.same, self.different):
            crossing = bisect_left(scores, 0, key=self._imbalance)
            near.extend(scores[max(0, crossing - 1) : crossing + 1])
        nearest = min(sorted(near, reverse=True), key=lambda threshold: abs(self._imbalance(threshold)))
        tpr, fpr = self.rates(np.asarray(nearest))
        return float((fpr + 1 - tpr) / 2)

    def _imbalance(self, threshold: np.float32) -> int:
        """FNR - FPR, as a whole number: times the number of same and of different pairs."""
        accepted_same, accepted_different = map(int, self.accepted(np.asarray(threshold)))
        return (len(self.same) - accepted_same) * len(self.different) - accepted_different * len(self.same)

    def roc_points(
        self, points: int = 400, also: Sequence[float] = ()
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], Scores]:
        """At most `points` (9 or more) points of the ROC curve, and those at the thresholds `also`, for plots.

        They are exact, evenly spaced along both rates and, for the corner at (0, 0), also along their
        logarithms; the first is (0, 0), the last (1, 1).

        Returns:
            FPR, TPR and threshold, (P,) each, by falling threshold.
        """
        chosen = [np.nextafter(max(self.same[-1], self.different[-1]), np.float32(np.inf))]
        for scores in (self.same, self.different):
            count, each = len(scores), max(2, (points - 1) // 4)  # the lowest score is among them
            ranks = np.concatenate([np.linspace(1, count, each), np.geomspace(1, count, each)])
            chosen.extend(scores[count - np.rint(ranks).astype(np.int64)])
        chosen.extend(float32_at_least(threshold) for threshold in also)
        thresholds = np.unique(np.array(chosen, dtype=np.float32))[::-1]
        tpr, fpr = self.rates(thresholds)
        return fpr, tpr, thresholds

    def figures(self, threshold: float) -> dict[str, float]:
        """Each a fraction of 1: binary accuracy at `threshold`, the reference's and the best one, AUC, equal errors."""
        return {
            "binary_accuracy": self.binary_accuracy(threshold),
            "binary_accuracy_fixed": self.binary_accuracy(REFERENCE_THRESHOLD),
            "binary_accuracy_best": self.best()[0],
            "roc_auc": self.roc_auc(),
            "equal_error_rate": self.equal_error_rate(),
        }


def measure(embeddings: Tensor, labels: Labels, threshold: float, negatives: Tensor | None = None) -> dict[str, float]:
    """All figures of one group of classes: the mean `triplet_accuracy`, and `Verification.figures` of all pairs.

    Arguments are those of `triplet_accuracy`; 10,000 embeddings (50 million pairs) take seconds.
    """
    triplets = triplet_accuracy(embeddings, labels, negatives)
    pairs = Verification(*pair_similarities(embeddings, labels, negatives))
    return {"triplet_accuracy": float(np.mean(list(triplets.values()))), **pairs.figures(threshold)}


def _classes(
    anchors: Tensor, labels: Labels, negatives: Tensor | None, rivals: Callable[[Tensor, int], Tensor]
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield each class as (label, its rows, the negatives or else the rows of its rivals by label), on the grid."""
    rows, labels = on_grid(anchors), torch.as_tensor(labels)
    given = None if negatives is None else on_grid(negatives)
    for label in labels.unique().tolist():
        yield label, rows[labels == label], rows[rivals(labels, label)] if given is None else given


def _blocks(rows: Tensor, columns: int) -> Iterator[tuple[int, Tensor]]:
    """Cut rows into (first row, block) such that a block times `columns` similarities fit into memory."""
    size = max(1, BLOCK // columns)
    return ((first, rows[first : first + size]) for first in range(0, len(rows), size))


def float32_at_least(threshold: float) -> np.float32:
    """The lowest float32 >= threshold: the same pairs pass either, and no score need be widened."""
    nearest = np.float32(threshold)
    return nearest if float(nearest) >= threshold else np.nextafter(nearest, np.float32(np.inf))
