"""How well embeddings tell classes apart: exact counts over all pairs and all triplets, nothing sampled.

Embeddings are float32 unit vectors on the CPU; a pair's similarity is its cosine, one float32 number
whatever the order of images or the size of blocks. Memory stays near that of the pairs, four bytes each.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from oneshot.common.errors import UserError

Scores = NDArray[np.float32]
Labels = Tensor | NDArray[np.integer]

REFERENCE_THRESHOLD = 0.7  # which nobody calibrated: measured beside the calibrated one
_GRID = 2.0**26
_BLOCK = 2**22  # similarities computed at a time: 32 MiB in float64
_SMALL = 2**16  # scores that are sorted before threads have started


def on_grid(embeddings: Tensor) -> Tensor:
    """Round to multiples of 2^-26, in float64: (N, D) unit vectors in and out.

    Products of such coordinates are multiples of 2^-52, and sums of them stay below 2, so float64 adds
    them without any rounding: matrix products are exact, in whatever order a library adds. The rounding
    itself is finer than that of the largest coordinates in float32.

    Raises:
        UserError: NaN or infinity among the embeddings.
        ValueError: not a matrix of unit vectors (zero vectors pass: their cosine counts as 0).
    """
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must have shape (N, D), not {tuple(embeddings.shape)}")
    if not torch.isfinite(embeddings).all():
        raise UserError(
            "embeddings: found NaN or infinity: the training diverged; "
            "lower classic.learning_rate, reptile.inner_learning_rate or adaptation.learning_rate"
        )
    exact = embeddings.double().mul(_GRID).round_().div_(_GRID)
    norms = exact.square().sum(dim=1).sqrt()
    if (((norms - 1).abs() > 1e-3) & (norms > 0)).any():
        raise ValueError("embeddings must be unit vectors")
    return exact


def similarities(left: Tensor, right: Tensor) -> Tensor:
    """Cosines (N, M), float32, of (N, D) and (M, D) vectors from `on_grid`: exact, then rounded once."""
    return (left @ right.T).float()


def triplet_accuracy(anchors: Tensor, labels: Labels, negatives: Tensor | None = None) -> dict[int, float]:
    """For each class, how often cos(anchor, positive) > cos(anchor, negative), over all its triplets.

    The anchor is any image of the class, the positive any other one, the negative any image of another
    class. Ties count half. The figure of a group of classes is the mean of the values.

    Args:
        anchors: (N, D) unit vectors.
        labels: (N,) whole numbers.
        negatives: (M, D) unit vectors of other classes, all of them taken as negatives; None: the anchors
            with other labels.

    Returns:
        label -> accuracy in 0..1, by ascending label.

    Raises:
        UserError: a class with one image; one class and no `negatives`.
    """
    return {
        label: _triplets_won(positives, others)
        for label, positives, others in _against_others(anchors, labels, negatives)
    }


def _triplets_won(anchors: Tensor, negatives: Tensor) -> float:
    half_wins = 0
    for first, block in _blocks(anchors, len(anchors) + len(negatives)):
        positive = _without_self(similarities(block, anchors), first)
        negative = torch.from_numpy(_sort_parallel(similarities(block, negatives).numpy()))
        for tied_too in (False, True):  # a negative below the positive counts twice, an equal one once
            half_wins += int(torch.searchsorted(negative, positive, right=tied_too).sum())
    return half_wins / (2 * len(anchors) * (len(anchors) - 1) * len(negatives))


def ranking_accuracy(query: Tensor, positives: Tensor, negatives: Tensor) -> float:
    """How often a positive is nearer to the one query (D,) than a negative is; (P, D) and (M, D). Ties count half."""
    exact = on_grid(query[None])
    nearness = [similarities(exact, on_grid(vectors)).numpy()[0] for vectors in (positives, negatives)]
    return Verification(*nearness).roc_auc()


def binary_accuracy_per_class(
    anchors: Tensor, labels: Labels, threshold: float, negatives: Tensor | None = None
) -> dict[int, float]:
    """For each class, (TPR + TNR) / 2 where a pair is called same if its cosine >= threshold.

    TPR is over all pairs of two images of the class, TNR over all pairs of one image of the class and one
    of another class. Arguments, result and errors are those of `triplet_accuracy`.
    """
    lowest = _float32_at_least(threshold)
    accuracies = {}
    for label, positives, others in _against_others(anchors, labels, negatives):
        accepted_same = accepted_different = 0
        for first, block in _blocks(positives, len(positives) + len(others)):
            accepted_same += int((_without_self(similarities(block, positives), first) >= lowest).sum())
            accepted_different += int((similarities(block, others) >= lowest).sum())
        same_pairs = len(positives) * (len(positives) - 1)  # each counted from both sides
        different_pairs = len(positives) * len(others)
        accuracies[label] = (accepted_same / same_pairs + 1 - accepted_different / different_pairs) / 2
    return accuracies


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
        UserError: no class with two images; one class and no `negatives`; pairs that do not fit into memory.
    """
    rows, others, classes = _by_class(anchors, labels, negatives)
    sizes = np.array([stop - start for _, start, stop in classes])
    rivals = np.array([len(rows) - stop if others is None else len(others) for *_, stop in classes])
    # Filled piece by piece: to join pieces would take their memory twice.
    counts = int((sizes * (sizes - 1) // 2).sum()), int((sizes * rivals).sum())
    try:
        same, different = (np.empty(count, dtype=np.float32) for count in counts)
    except MemoryError:
        raise UserError(
            f"{len(rows):,} images of {len(classes)} classes: found {sum(counts):,} pairs, of 4 bytes each, which must "
            "fit into memory; close other programs, lower split.calibration_images or take fewer test images"
        ) from None
    if not len(same):
        raise UserError(f"labels: found one image in each of {len(classes)} classes; pairs need a class with 2")
    filled_same = filled_different = 0
    for _, start, stop in classes:
        later = rows[stop:] if others is None else others
        for first, block in _blocks(rows[start:stop], len(rows) + len(later)):
            within = similarities(block, rows[start + first : stop]).numpy()
            found = within[np.triu_indices(len(block), 1, within.shape[1])]
            same[filled_same : filled_same + len(found)] = found
            filled_same += len(found)
            across = similarities(block, later).numpy().ravel()
            different[filled_different : filled_different + len(across)] = across
            filled_different += len(across)
    return same, different


class RocPoints(NamedTuple):
    """A thinned ROC curve: rates (P,) float64, thresholds (P,) float32, by falling threshold."""

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    threshold: Scores


class Verification:
    """Same class or not, by a threshold on similarity: everything a ROC curve holds, exactly.

    A pair is called same if its similarity >= threshold. TPR is the share of same pairs called same, FPR
    that of different pairs, FNR = 1 - TPR, TNR = 1 - FPR. All is counted in whole numbers and divided once.
    The scores are copied and sorted once (O(n log n)); a threshold then costs two binary searches.

    Args:
        same, different: 1-D similarities of same and of different pairs, as float32.
        copy: False sorts the given arrays themselves, which saves their memory.

    Raises:
        UserError: no same or no different pair, or NaN among them.
    """

    def __init__(self, same: ArrayLike, different: ArrayLike, copy: bool = True) -> None:
        self.same = _sorted_scores("same", same, copy)
        self.different = _sorted_scores("different", different, copy)

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
        return float(self._balanced(np.array([_float32_at_least(threshold)]))[0])

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
        # FNR - FPR grows with every score that the threshold passes: two neighbouring scores enclose 0.
        below: list[np.float32] = []
        above = [np.float32(np.inf)]
        for scores in (self.same, self.different):
            crossing = bisect_left(scores, 0, key=self._imbalance)
            below.extend(scores[crossing - 1 : crossing] if crossing else [])
            above.extend(scores[crossing : crossing + 1])
        nearest = min(min(above), max(below), key=lambda threshold: abs(self._imbalance(threshold)))
        tpr, fpr = self.rates(np.asarray(nearest))
        return float((fpr + 1 - tpr) / 2)

    def _imbalance(self, threshold: np.float32) -> int:
        """FNR - FPR, as a whole number: times the number of same and of different pairs."""
        rejected_same = int(np.searchsorted(self.same, threshold))
        accepted_different = len(self.different) - int(np.searchsorted(self.different, threshold))
        return rejected_same * len(self.different) - accepted_different * len(self.same)

    def roc_points(self, points: int = 400, also: Sequence[float] = ()) -> RocPoints:
        """At most `points` (9 or more) points of the ROC curve, and those at the thresholds `also`, for plots.

        They are exact, evenly spaced along both rates and, for the corner at (0, 0), also along their
        logarithms; the first is (0, 0), the last (1, 1).
        """
        chosen = [np.nextafter(max(self.same[-1], self.different[-1]), np.float32(np.inf))]
        for scores in (self.same, self.different):
            count, each = len(scores), max(2, (points - 1) // 4)  # the lowest score is among them
            ranks = np.concatenate([np.linspace(1, count, each), np.geomspace(1, count, each)])
            chosen.extend(scores[count - np.rint(ranks).astype(np.int64)])
        chosen.extend(_float32_at_least(threshold) for threshold in also)
        thresholds = np.unique(np.array(chosen, dtype=np.float32))[::-1]
        tpr, fpr = self.rates(thresholds)
        return RocPoints(fpr, tpr, thresholds)


def verification(pairs: Verification, threshold: float) -> dict[str, float]:
    """Verification figures of same and different pairs, each a fraction of 1.

    Returns:
        binary_accuracy: (TPR + TNR) / 2 at `threshold`.
        binary_accuracy_fixed: the same at `REFERENCE_THRESHOLD`.
        binary_accuracy_best: the highest value any threshold could give.
        roc_auc, equal_error_rate: as in `Verification`.
    """
    return {
        "binary_accuracy": pairs.binary_accuracy(threshold),
        "binary_accuracy_fixed": pairs.binary_accuracy(REFERENCE_THRESHOLD),
        "binary_accuracy_best": pairs.best()[0],
        "roc_auc": pairs.roc_auc(),
        "equal_error_rate": pairs.equal_error_rate(),
    }


def measure(embeddings: Tensor, labels: Labels, threshold: float, negatives: Tensor | None = None) -> dict[str, float]:
    """All figures of one group of classes: the mean `triplet_accuracy`, and `verification` of all pairs.

    Arguments and errors are those of `triplet_accuracy`; 10,000 embeddings (50 million pairs) take seconds.
    """
    triplets = triplet_accuracy(embeddings, labels, negatives)
    pairs = Verification(*pair_similarities(embeddings, labels, negatives), copy=False)
    return {"triplet_accuracy": float(np.mean(list(triplets.values()))), **verification(pairs, threshold)}


def _by_class(
    anchors: Tensor, labels: Labels, negatives: Tensor | None
) -> tuple[Tensor, Tensor | None, list[tuple[int, int, int]]]:
    """Anchors on the grid, one class after another; negatives on the grid; (label, start, stop) of each class."""
    labels = np.asarray(labels)
    if labels.shape != (len(anchors),):
        raise ValueError(f"labels must have shape ({len(anchors)},), not {labels.shape}")
    if negatives is not None and not len(negatives):
        raise UserError("negatives: found no image; at least 1 is needed")
    order = np.argsort(labels, kind="stable")
    names, starts = np.unique(labels[order], return_index=True)
    if len(names) < (2 if negatives is None else 1):
        raise UserError(f"labels: found {len(names)} class(es); telling classes apart needs at least 2")
    stops = [*starts[1:].tolist(), len(labels)]
    classes = list(zip(names.tolist(), starts.tolist(), stops, strict=True))
    rows = on_grid(anchors)[torch.from_numpy(order)]
    return rows, None if negatives is None else on_grid(negatives), classes


def _against_others(anchors: Tensor, labels: Labels, negatives: Tensor | None) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield each class as (label, its rows, the rows of its negatives)."""
    rows, others, classes = _by_class(anchors, labels, negatives)
    for label, start, stop in classes:
        if stop - start < 2:
            raise UserError(f"class {label}: found 1 image; an anchor and a positive need at least 2")
        yield label, rows[start:stop], torch.cat([rows[:start], rows[stop:]]) if others is None else others


def _blocks(rows: Tensor, columns: int) -> Iterator[tuple[int, Tensor]]:
    """Cut rows into (first row, block) such that a block times `columns` similarities fit into memory."""
    size = max(1, _BLOCK // columns)
    return ((first, rows[first : first + size]) for first in range(0, len(rows), size))


def _without_self(block: Tensor, first: int) -> Tensor:
    """Put the pairs of an image with itself, at (i, first + i), below every other pair; in place."""
    block.diagonal(first).fill_(-torch.inf)
    return block


def _sorted_scores(name: str, scores: ArrayLike, copy: bool) -> Scores:
    values = np.array(scores, dtype=np.float32, copy=copy or None)
    if values.ndim != 1 or not len(values):
        raise UserError(f"{name} pairs: found none; at least 1 is needed: 2 images of a class, and 2 classes")
    values.partition(np.array(_cuts(len(values)), dtype=np.intp))  # parts in order, to be sorted each on its own
    if np.isnan(_sort_parallel(values)[-1]):
        raise UserError(f"{name} pairs: found NaN; similarities must be numbers")
    return values


def _cuts(count: int) -> list[int]:
    parts = torch.get_num_threads()
    return [count * part // parts for part in range(1, parts)]


def _sort_parallel(values: Scores) -> Scores:
    """Sort along the last axis, in place: parts of the first axis in one thread each."""
    parts = np.split(values, _cuts(len(values)))
    if len(parts) == 1 or values.size < _SMALL:
        values.sort()
        return values
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(np.ndarray.sort, parts))
    return values


def _float32_at_least(threshold: float) -> np.float32:
    """The lowest float32 >= threshold: the same pairs pass either, and no score need be widened."""
    nearest = np.float32(threshold)
    return nearest if float(nearest) >= threshold else np.nextafter(nearest, np.float32(np.inf))
