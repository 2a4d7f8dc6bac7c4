"""Everything that is measured of a trained network: frozen, in N-way K-shot episodes, and adapted.

Test images are scored exactly, over all their pairs and triplets; supports are training images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from oneshot.evaluation.adapted import Figures, Outcome, measure_adapted, measure_adapted_seen
from oneshot.evaluation.calibration import Calibration, roc_table
from oneshot.evaluation.context import Classes, Context
from oneshot.evaluation.episodes import HEADLINE_SHOTS, few_shot_accuracy, sampled_episodes, shot_name
from oneshot.evaluation.metrics import Verification, measure, pair_similarities
from oneshot.evaluation.near_duplicates import near_duplicates
from oneshot.evaluation.open_set import open_set


def evaluate(context: Context, thresholds: dict[str, Any]) -> tuple[Figures, list[Figures], list[Figures]]:
    """All figures (nested, fractions of 1), a table of the held-out classes, and the ROC on them.

    docs/metrics.md says what each figure is. Held-out classes are the unseen ones, or the validation classes where
    `evaluation.unseen` is false.
    """
    split, threshold = context.split, thresholds["frozen"]["threshold"]
    seen = context.classes("seen", split.seen)
    figures: Figures = {"threshold": threshold, "seen": measure(seen.embeddings, seen.labels, threshold)}

    held_out = [context.classes("validation", split.validation)] if split.validation else []
    if context.params.evaluation.unseen:
        held_out.append(context.classes("unseen", split.unseen))
    for group in held_out:
        figures[group.name] = measure(group.embeddings, group.labels, threshold) | _episodes(context, group)
        figures[f"{group.name}_reference"] = measure(group.embeddings, group.labels, threshold, seen.embeddings)
    figures |= _without_near_duplicates(context, [seen, *held_out], threshold)
    table = _per_class(context, held_out[-1], threshold)
    # What one threshold for each class could at most bring.
    own = [row["binary_accuracy_own_threshold"] for row in table]
    figures[held_out[-1].name]["binary_accuracy_own_thresholds"] = float(np.mean(own))
    for name, shots in context.shots.items():
        figures[name] = {"threshold": thresholds[name]["threshold"]}
        for group in held_out:
            found, of_each_class = measure_adapted(context, group, shots, thresholds[name]["threshold"])
            figures[name] |= found
        for row, more in zip(table, of_each_class, strict=True):  # of the last group
            row |= {f"{name}_{figure}": round(value, 6) for figure, value in more.items()}
    if context.shots:
        figures["adapted_seen_all"] = measure_adapted_seen(context, seen, thresholds["adapted_all"]["threshold"])
    pairs = Verification(*pair_similarities(held_out[-1].embeddings, held_out[-1].labels))
    return figures, table, roc_table(pairs, Calibration(**thresholds["frozen"]))


def _episodes(context: Context, group: Classes) -> Figures:
    """N-way K-shot accuracy of the frozen network: among all classes of the group, and in small episodes; open sets.

    Small episodes draw from each class's training and test images together, as benchmarks such as CIFAR-FS do.
    """
    supports = [context.embed_train(context.supports(label)) for label in group.labels_once]
    targets, seed = np.searchsorted(group.labels_once, group.labels), context.params.seed
    among_all = {
        shot_name(shots): few_shot_accuracy(supports, group.embeddings, targets, shots, seed).accuracy()
        for shots in sorted({*HEADLINE_SHOTS, *context.params.adaptation.shots})
    }
    tests = [group.embeddings[group.labels == label] for label in group.labels_once]
    pool = [torch.cat(pair) for pair in zip(supports, tests, strict=True)]
    return among_all | {
        "open_set": open_set(supports, tests, seed),
        "sampled_episodes": {shot_name(k): sampled_episodes(pool, k, seed).accuracy() for k in HEADLINE_SHOTS},
    }


def _without_near_duplicates(context: Context, groups: list[Classes], threshold: float) -> Figures:
    """The figures of each group without test images that have a near-duplicate among all training images.

    Nothing where a class would be left without a pair.
    """
    copied = near_duplicates(context.dataset.test_images, context.dataset.train_images)
    figures: Figures = {"near_duplicates": int(sum(copied[group.rows].sum() for group in groups))}
    for group in groups:
        kept = ~copied[group.rows]
        if np.bincount(group.labels[kept], minlength=max(group.labels_once) + 1)[group.labels_once].min() >= 2:
            distinct = group.embeddings[torch.from_numpy(kept)], group.labels[kept]
            figures[f"{group.name}_distinct"] = measure(*distinct, threshold)
    return figures


def _per_class(context: Context, group: Classes, threshold: float) -> list[Figures]:
    """The table that the reference prints: a row for each class, negatives among the group's classes."""
    table = []
    for label in group.labels_once:
        mine = group.labels == label
        outcome = Outcome(group.embeddings[mine], group.embeddings[~mine])
        figures = {
            "triplet_accuracy": outcome.triplet_accuracy,
            "binary_accuracy": outcome.pairs.binary_accuracy(threshold),
            "binary_accuracy_own_threshold": outcome.pairs.best()[0],
        }
        table.append({"class": context.names[label]} | {key: round(value, 6) for key, value in figures.items()})
    return table
