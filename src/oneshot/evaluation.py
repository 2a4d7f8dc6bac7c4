"""Everything that is measured of a trained network: frozen, in N-way K-shot episodes, and adapted.

Test images are scored exactly, over all their pairs and triplets; supports are training images.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from oneshot.calibration import Calibration, roc_table
from oneshot.episodes import confidence, episode_accuracy, few_shot_accuracy, prototype
from oneshot.metrics import (
    binary_accuracy_per_class,
    measure,
    pair_similarities,
    triplet_accuracy,
    verification,
)
from oneshot.sampling import random_stream
from oneshot.subject import Subject

Figures = dict[str, Any]
SHOT_NAMES = {1: "one_shot", 5: "five_shot"}


@dataclass
class Group:
    """Classes that are measured together: their test images' rows, labels and embeddings by the frozen network."""

    name: str
    classes: list[int]
    rows: np.ndarray
    labels: np.ndarray
    embeddings: Tensor


def evaluate(subject: Subject, thresholds: dict[str, Any]) -> tuple[Figures, list[Figures], list[Figures]]:
    """Metrics (nested, fractions of 1), a table of the novel classes, and the ROC on them.

    Novel classes are the unseen ones, or the validation classes where `evaluate_unseen` is false.
    """
    split, params = subject.split, subject.params
    threshold = thresholds["frozen"]["threshold"]
    metrics: Figures = {"threshold": threshold}
    seen = _group(subject, "seen", split.seen)
    fixed = params.fixed_threshold
    metrics["seen"] = measure(seen.embeddings, seen.labels, threshold, None, fixed)

    novel = [_group(subject, "validation", split.validation)] if split.validation else []
    if params.evaluate_unseen:
        novel.append(_group(subject, "unseen", split.unseen))
    for group in novel:
        metrics[group.name] = measure(group.embeddings, group.labels, threshold, None, fixed)
        metrics[f"{group.name}_reference"] = measure(group.embeddings, group.labels, threshold, seen.embeddings, fixed)
        # The headline figures stand at the top; those of validation classes beside their other figures.
        home = metrics if group.name == "unseen" else metrics[group.name]
        home |= {name: _episodes(subject, group, shots) for shots, name in SHOT_NAMES.items()}
    for name, shots in subject.shots.items():
        metrics[name], *adapted = _adapted(subject, novel, shots, thresholds[name]["threshold"])
    metrics["adapted_seen_all"] = _adapted_seen(subject, seen, thresholds["adapted_all"]["threshold"])

    table = _per_class(subject, novel[-1], threshold)
    for scores, column in zip(adapted, ("adapted_all", "adapted_all_reference"), strict=True):
        for row, figures in zip(table, scores.per_class(column), strict=True):
            row |= figures
    pairs = pair_similarities(novel[-1].embeddings, novel[-1].labels)
    return metrics, table, roc_table(*pairs, Calibration(**thresholds["frozen"]))


def _group(subject: Subject, name: str, classes: list[int]) -> Group:
    rows = subject.test_rows(classes)
    return Group(name, classes, rows, subject.test_labels[rows], subject.embed_test(rows))


def _episodes(subject: Subject, group: Group, shots: int) -> Figures:
    """N-way K-shot accuracy of the frozen network over all classes of the group."""
    supports = [subject.embed_train(subject.supports(label)) for label in group.classes]
    targets = np.searchsorted(group.classes, group.labels)
    result = few_shot_accuracy(
        supports, group.embeddings, targets, shots, subject.params.episode_draws, subject.params.seed
    )
    return {"accuracy": result.accuracy, "ci95": result.ci95}


class Scores:
    """Similarities and triplet accuracies gathered over clones, each adapted to one class."""

    def __init__(self, threshold: float, fixed_threshold: float) -> None:
        self.threshold, self.fixed_threshold = threshold, fixed_threshold
        self.triplets: list[float] = []
        self.pairs: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, positives: Tensor, negatives: Tensor) -> None:
        """Add a clone's embeddings of its class's test images and of test images of other classes."""
        one_class = np.zeros(len(positives), dtype=np.int64)
        self.triplets += triplet_accuracy(positives, one_class, negatives).values()
        self.pairs.append(pair_similarities(positives, one_class, negatives))

    def figures(self) -> Figures:
        """The same keys as for the frozen network; one threshold, and one ROC curve, for all clones."""
        same, different = (np.concatenate(side) for side in zip(*self.pairs, strict=True))
        return {"triplet_accuracy": float(np.mean(self.triplets)), **self._verification(same, different)}

    def _verification(self, same: np.ndarray, different: np.ndarray) -> Figures:
        return verification(same, different, self.threshold, self.fixed_threshold)

    def per_class(self, column: str) -> list[Figures]:
        """What the reference prints of its adapted network, for each clone in turn."""
        return [
            {
                f"{column}_triplet_accuracy": round(triplet, 6),
                f"{column}_binary_accuracy": round(self._verification(same, different)["binary_accuracy"], 6),
            }
            for triplet, (same, different) in zip(self.triplets, self.pairs, strict=True)
        ]


def _adapted(
    subject: Subject, novel: list[Group], shots: int | None, threshold: float
) -> tuple[Figures, Scores, Scores]:
    """Clones adapted on K images of each novel class in turn, and on whole N-way K-shot support sets.

    Returns the figures, and the last group's scores among itself and against seen classes, as the
    reference measured.
    """
    params, figures = subject.params, Figures(threshold=threshold)
    seen_rows = subject.test_rows(subject.split.seen, most=params.adapt_negatives)
    for group in novel:
        among, against_seen = (Scores(threshold, params.fixed_threshold) for _ in range(2))
        draws = params.adapt_draws if shots else 1  # all images are one support set
        work = [(draw, label) for draw in range(draws) for label in group.classes]
        for draw, label in _progress(work, f"{group.name}, adapted on {shots or 'all'}"):
            clone = subject.adapted_to_class(label, shots, draw)
            mine = subject.embed_test(group.rows[group.labels == label], clone)
            among.add(mine, subject.embed_test(group.rows[group.labels != label], clone))
            against_seen.add(mine, subject.embed_test(seen_rows, clone))
        figures[group.name] = among.figures()
        figures[f"{group.name}_reference"] = against_seen.figures()
        if shots:
            name = SHOT_NAMES.get(shots, f"{shots}_shot")
            (figures if group.name == "unseen" else figures[group.name])[name] = _adapted_episodes(
                subject, group, shots
            )
    return figures, among, against_seen


def _adapted_episodes(subject: Subject, group: Group, shots: int) -> Figures:
    """N-way K-shot accuracy where each support set adapts a clone of its own."""
    targets, draws = np.searchsorted(group.classes, group.labels), subject.params.adapt_episodes
    accuracies: list[float] = []
    for draw in _progress(range(draws), f"{group.name}, {len(group.classes)}-way {shots}-shot, adapted"):
        clone, supports = subject.adapted_to_episode(group.classes, shots, draw)
        prototypes = torch.stack([prototype(subject.embed_train(rows, clone)) for rows in supports])
        queries = subject.embed_test(group.rows, clone)
        accuracies += episode_accuracy(prototypes[None], queries, targets).tolist()
    result = confidence(accuracies)
    return {"accuracy": result.accuracy, "ci95": result.ci95}


def _adapted_seen(subject: Subject, seen: Group, threshold: float) -> Figures:
    """Clones adapted on all training images of a seen class, against the other seen classes."""
    rng = random_stream(subject.params.seed, "adaptation", 1)
    chosen = np.sort(rng.choice(seen.classes, subject.params.adapt_classes, replace=False)).tolist()
    scores = Scores(threshold, subject.params.fixed_threshold)
    for label in _progress(chosen, "seen, adapted on all"):
        clone = subject.adapted_to_class(label, None, draw=0)
        others = [other for other in seen.classes if other != label]
        mine = subject.embed_test(seen.rows[seen.labels == label], clone)
        scores.add(mine, subject.embed_test(subject.test_rows(others, subject.params.adapt_negatives), clone))
    return scores.figures()


def _per_class(subject: Subject, group: Group, threshold: float) -> list[Figures]:
    """The table that the reference prints: a row for each class, negatives among the group's classes."""
    triplets = triplet_accuracy(group.embeddings, group.labels)
    binaries = binary_accuracy_per_class(group.embeddings, group.labels, threshold)
    return [
        {
            "class": subject.names[label],
            "triplet_accuracy": round(triplets[label], 6),
            "binary_accuracy": round(binaries[label], 6),
        }
        for label in group.classes
    ]


def _progress(work: Iterable[Any], what: str) -> Iterable[Any]:
    return tqdm(list(work), desc=what, unit="clone", mininterval=1)
