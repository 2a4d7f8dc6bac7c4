"""Everything that is measured of a trained network: frozen, in N-way K-shot episodes, and adapted.

Test images are scored exactly, over all their pairs and triplets; supports are training images.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from oneshot.calibration import Calibration, roc_table
from oneshot.comparison import shot_name
from oneshot.episodes import confidence, episode_accuracy, few_shot_accuracy, prototype, sampled_episodes
from oneshot.metrics import (
    Verification,
    binary_accuracy_per_class,
    measure,
    pair_similarities,
    ranking_accuracy,
    triplet_accuracy,
    verification,
)
from oneshot.near_copies import near_copies
from oneshot.sampling import random_stream
from oneshot.subject import Subject

Figures = dict[str, Any]
HEADLINE_SHOTS = (1, 5)


@dataclass
class Group:
    """Classes that are measured together: their test images' rows, labels and embeddings by the frozen network.

    New classes have supports too: embeddings of the training images that supports are drawn from, class by class.
    """

    name: str
    classes: list[int]
    rows: np.ndarray
    labels: np.ndarray
    embeddings: Tensor
    supports: list[Tensor] = field(default_factory=list)


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
        group.supports = [subject.embed_train(subject.supports(label)) for label in group.classes]
        home |= {shot_name(k): _all_classes(subject, group, k) for k in sorted({*HEADLINE_SHOTS, *params.adapt_shots})}
        home["sampled_episodes"] = {shot_name(k): _sampled(subject, group, k) for k in HEADLINE_SHOTS}
    metrics |= _distinct(subject, [seen, *novel], threshold)
    table = _per_class(subject, novel[-1], threshold)
    # What one threshold for each class could at most bring.
    metrics[novel[-1].name]["binary_accuracy_own_thresholds"] = float(
        np.mean([row["binary_accuracy_own_threshold"] for row in table])
    )
    for name, shots in subject.shots.items():
        metrics[name], of_each_class = _adapted(subject, novel, shots, thresholds[name]["threshold"])
        for row, figures in zip(table, of_each_class, strict=True):
            row |= {f"{name}_{figure}": round(value, 6) for figure, value in figures.items()}
    metrics["adapted_seen_all"] = _adapted_seen(subject, seen, thresholds["adapted_all"]["threshold"])
    pairs = pair_similarities(novel[-1].embeddings, novel[-1].labels)
    return metrics, table, roc_table(*pairs, Calibration(**thresholds["frozen"]))


def _group(subject: Subject, name: str, classes: list[int]) -> Group:
    rows = subject.test_rows(classes)
    return Group(name, classes, rows, subject.test_labels[rows], subject.embed_test(rows))


def _distinct(subject: Subject, groups: list[Group], threshold: float) -> Figures:
    """The figures of each group without test images that have a near-copy among all training images.

    Nothing where a class would be left without a pair.
    """
    tests, trained = (
        store.images.permute(0, 2, 3, 1).cpu().numpy() for store in (subject.test_images, subject.train_images)
    )
    copied = near_copies(tests, trained)
    figures: Figures = {"near_copies": int(sum(copied[group.rows].sum() for group in groups))}
    for group in groups:
        kept = ~copied[group.rows]
        if np.bincount(group.labels[kept], minlength=max(group.classes) + 1)[group.classes].min() >= 2:
            distinct = group.embeddings[torch.from_numpy(kept)], group.labels[kept]
            figures[f"{group.name}_distinct"] = measure(*distinct, threshold, None, subject.params.fixed_threshold)
    return figures


def _all_classes(subject: Subject, group: Group, shots: int) -> Figures:
    """N-way K-shot accuracy of the frozen network over all N classes of the group and all their test images."""
    targets, params = np.searchsorted(group.classes, group.labels), subject.params
    result = few_shot_accuracy(group.supports, group.embeddings, targets, shots, params.episode_draws, params.seed)
    return {"accuracy": result.accuracy, "ci95": result.ci95}


def _sampled(subject: Subject, group: Group, shots: int) -> Figures:
    """Accuracy over small episodes, each class's training and test images pooled, as benchmarks such as CIFAR-FS do."""
    p = subject.params
    tests = [group.embeddings[group.labels == label] for label in group.classes]
    pool = [torch.cat(pair) for pair in zip(group.supports, tests, strict=True)]
    result = sampled_episodes(pool, p.episode_ways, shots, p.episode_queries, p.episode_count, p.seed)
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
        return {
            "triplet_accuracy": float(np.mean(self.triplets)),
            **verification(same, different, self.threshold, self.fixed_threshold),
        }

    def binary_accuracies(self) -> list[float]:
        """Each clone's own binary accuracy at the threshold of all."""
        return [Verification(*pair).binary_accuracy(self.threshold) for pair in self.pairs]


def _adapted(
    subject: Subject, novel: list[Group], shots: int | None, threshold: float
) -> tuple[Figures, list[Figures]]:
    """Clones adapted on K images of each novel class in turn, and on whole N-way K-shot support sets.

    Returns the figures, and those of each class of the last group, means over the draws of its supports.
    Beside the clone's accuracy stand that of scoring against the mean of the same supports (their prototype),
    by the clone and by the frozen network, and the gain over the frozen network.
    """
    params, figures = subject.params, Figures(threshold=threshold)
    seen_rows = subject.test_rows(subject.split.seen, most=params.adapt_negatives)
    for group in novel:
        among, against_seen = (Scores(threshold, params.fixed_threshold) for _ in range(2))
        draws = params.adapt_draws if shots else 1  # all images are one support set
        work = [(draw, label) for draw in range(draws) for label in group.classes]
        prototypes: dict[str, list[float]] = {"prototype_accuracy": [], "prototype_accuracy_frozen": []}
        for draw, label in _progress(work, f"{group.name}, adapted on {shots or 'all'}"):
            clone, chosen = subject.adapted_to_class(label, shots, draw)
            mine, rest = (group.rows[side] for side in (group.labels == label, group.labels != label))
            own, other = subject.embed_test(mine, clone), subject.embed_test(rest, clone)
            among.add(own, other)
            against_seen.add(own, subject.embed_test(seen_rows, clone))
            nearness = [
                ranking_accuracy(prototype(subject.embed_train(chosen, clone)), own, other),
                ranking_accuracy(
                    prototype(subject.embed_train(chosen)), subject.embed_test(mine), subject.embed_test(rest)
                ),
            ]
            for values, value in zip(prototypes.values(), nearness, strict=True):
                values.append(value)
        of_each_class = {
            "triplet_accuracy": _class_means(among.triplets, draws),
            "binary_accuracy": _class_means(among.binary_accuracies(), draws),
            "reference_triplet_accuracy": _class_means(against_seen.triplets, draws),
            "reference_binary_accuracy": _class_means(against_seen.binary_accuracies(), draws),
            **{name: _class_means(values, draws) for name, values in prototypes.items()},
        }
        frozen = list(triplet_accuracy(group.embeddings, group.labels).values())
        gain = confidence(of_each_class["triplet_accuracy"] - np.array(frozen))
        figures[group.name] = among.figures() | {
            "gain": gain.accuracy,
            "gain_ci95": gain.ci95,
            **{name: float(np.mean(values)) for name, values in prototypes.items()},
        }
        figures[f"{group.name}_reference"] = against_seen.figures()
        if shots:
            home = figures if group.name == "unseen" else figures[group.name]
            home[shot_name(shots)] = _adapted_episodes(subject, group, shots)
    rows = np.stack(list(of_each_class.values()), axis=1).tolist()
    return figures, [dict(zip(of_each_class, row, strict=True)) for row in rows]


def _class_means(values: list[float], draws: int) -> np.ndarray:
    """Means over draws (classes,) of values that lie draw after draw, class after class within."""
    return np.array(values).reshape(draws, -1).mean(axis=0)


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
        clone, _ = subject.adapted_to_class(label, None, draw=0)
        others = [other for other in seen.classes if other != label]
        mine = subject.embed_test(seen.rows[seen.labels == label], clone)
        scores.add(mine, subject.embed_test(subject.test_rows(others, subject.params.adapt_negatives), clone))
    return scores.figures()


def _per_class(subject: Subject, group: Group, threshold: float) -> list[Figures]:
    """The table that the reference prints: a row for each class, negatives among the group's classes."""
    triplets = triplet_accuracy(group.embeddings, group.labels)
    binaries = binary_accuracy_per_class(group.embeddings, group.labels, threshold)
    table = []
    for label in group.classes:
        mine, rest = (group.embeddings[side] for side in (group.labels == label, group.labels != label))
        own_threshold = Verification(*pair_similarities(mine, np.zeros(len(mine), dtype=np.int64), rest)).best()[0]
        table.append(
            {
                "class": subject.names[label],
                "triplet_accuracy": round(triplets[label], 6),
                "binary_accuracy": round(binaries[label], 6),
                "binary_accuracy_own_threshold": round(own_threshold, 6),
            }
        )
    return table


def _progress(work: Iterable[Any], what: str) -> Iterable[Any]:
    return tqdm(list(work), desc=what, unit="clone", mininterval=1)
