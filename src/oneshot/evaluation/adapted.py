"""What adaptation brings: to one held-out class at a time, and to whole N-way K-shot support sets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from oneshot.evaluation.context import Classes, Context
from oneshot.evaluation.episodes import episode_accuracy, estimate, prototype, shot_name
from oneshot.evaluation.metrics import Verification, pair_similarities, ranking_accuracy, triplet_accuracy
from oneshot.evaluation.thresholds import some_seen_classes

DRAWS = 5  # support sets of a class; all of its images are one set
EPISODES = 100  # N-way support sets that are adapted on as a whole
NEGATIVES = 20  # test images of each seen class, at most

Figures = dict[str, Any]


class Outcome:
    """One class's test images (P, D) against images of other classes (M, D), embedded by what adapted to the class."""

    def __init__(self, positives: Tensor, negatives: Tensor) -> None:
        one_class = np.zeros(len(positives), dtype=np.int64)
        (self.triplet_accuracy,) = triplet_accuracy(positives, one_class, negatives).values()
        self.pairs = Verification(*pair_similarities(positives, one_class, negatives))


def measure_adapted(
    context: Context, group: Classes, shots: int | None, threshold: float
) -> tuple[Figures, list[dict[str, float]]]:
    """Adapted on K images (None: all) of each class of a group in turn, and on whole N-way K-shot support sets.

    `reference`: against the seen classes, as the reference has it, rather than against the others of the group. The
    prototype accuracy is how often an image of the class is nearer to the mean of its supports than one of another
    class of the group. The gain is that in triplet accuracy over the frozen network, with an interval over classes.

    Returns:
        The figures, and those of each class: means over the draws of its supports.
    """
    seen_rows = context.test_rows(context.split.seen, NEGATIVES)
    work = [(draw, label) for draw in range(DRAWS if shots else 1) for label in group.labels_once]
    among, against_seen, rows = [], [], []
    for draw, label in _progress(work, f"{group.name}, adapted on {shots or 'all'}"):
        adapted, chosen = context.adapted_to_class(label, shots, draw)
        mine, rest = (group.rows[side] for side in (group.labels == label, group.labels != label))
        own, other = context.embed_test(mine, adapted), context.embed_test(rest, adapted)
        among.append(Outcome(own, other))
        against_seen.append(Outcome(own, context.embed_test(seen_rows, adapted)))
        frozen = prototype(context.embed_train(chosen)), context.embed_test(mine), context.embed_test(rest)
        rows.append({
            "triplet_accuracy": among[-1].triplet_accuracy,
            "binary_accuracy": among[-1].pairs.binary_accuracy(threshold),
            "reference_triplet_accuracy": against_seen[-1].triplet_accuracy,
            "reference_binary_accuracy": against_seen[-1].pairs.binary_accuracy(threshold),
            "prototype_accuracy": ranking_accuracy(prototype(context.embed_train(chosen, adapted)), own, other),
            "prototype_accuracy_frozen": ranking_accuracy(*frozen),
        })  # fmt: skip
    of_each_class = [
        {name: float(np.mean([row[name] for row in rows[place :: len(group.labels_once)]])) for name in rows[0]}
        for place in range(len(group.labels_once))
    ]
    before = triplet_accuracy(group.embeddings, group.labels).values()
    gain = estimate([row["triplet_accuracy"] - frozen for row, frozen in zip(of_each_class, before, strict=True)])
    figures = _together(among, threshold) | {"gain": gain.mean, "gain_ci95": gain.ci95}
    figures |= {key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key.startswith("prototype")}
    if shots:
        figures[shot_name(shots)] = _episodes(context, group, shots)
    return {group.name: figures, f"{group.name}_reference": _together(against_seen, threshold)}, of_each_class


def measure_adapted_seen(context: Context, seen: Classes, threshold: float) -> Figures:
    """Adapted on all training images of a seen class, against the other seen classes; the mean over some classes."""
    outcomes = []
    for label in _progress(some_seen_classes(context, 1), "seen, adapted on all"):
        adapted, _ = context.adapted_to_class(label, None, draw=0)
        mine = context.embed_test(seen.rows[seen.labels == label], adapted)
        others = context.test_rows([other for other in seen.labels_once if other != label], NEGATIVES)
        outcomes.append(Outcome(mine, context.embed_test(others, adapted)))
    return _together(outcomes, threshold)


def _together(outcomes: list[Outcome], threshold: float) -> Figures:
    """Figures as `measure` has them for the frozen network; one threshold, and one ROC curve, for all outcomes."""
    pairs = [outcome.pairs for outcome in outcomes]
    every = Verification(np.concatenate([p.same for p in pairs]), np.concatenate([p.different for p in pairs]))
    return {"triplet_accuracy": float(np.mean([o.triplet_accuracy for o in outcomes])), **every.figures(threshold)}


def _episodes(context: Context, group: Classes, shots: int) -> dict[str, float]:
    """N-way K-shot accuracy where each support set adapts the network anew."""
    targets, accuracies = np.searchsorted(group.labels_once, group.labels), []
    for draw in _progress(range(EPISODES), f"{group.name}, {len(group.labels_once)}-way {shots}-shot, adapted"):
        adapted, supports = context.adapted_to_episode(group.labels_once, shots, draw)
        prototypes = torch.stack([prototype(context.embed_train(rows, adapted)) for rows in supports])
        queries = context.embed_test(group.rows, adapted)
        accuracies += episode_accuracy(prototypes[None], queries, targets)
    return estimate(accuracies).accuracy()


def _progress(work: Iterable[Any], what: str) -> Iterable[Any]:
    return tqdm(list(work), desc=what, unit="adaptation", mininterval=1)
