"""Thresholds for a trained network and for what it adapts to, from images that training never saw.

No image of an unseen class takes part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tqdm import tqdm

from oneshot.data.sampling import random_stream
from oneshot.data.split import Split
from oneshot.evaluation.calibration import calibrate, roc_table
from oneshot.evaluation.context import Context
from oneshot.evaluation.metrics import Verification, pair_similarities

CLASSES = 10  # seen ones that are adapted to, at most


def seen_calibration_images(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Rows and labels, both (N,) int64, of the images of seen classes that are set aside, class after class."""
    parts = [split.calibration[label] for label in split.seen]
    return np.concatenate(parts), np.repeat(split.seen, [len(part) for part in parts])


def some_seen_classes(context: Context, *place: int) -> list[int]:
    """`CLASSES` random seen classes, ascending; all where there are fewer."""
    seen, rng = context.split.seen, random_stream(context.params.seed, "adaptation", *place)
    return sorted(rng.choice(seen, min(CLASSES, len(seen)), replace=False).tolist())


def calibrate_thresholds(context: Context) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Thresholds by name (`frozen` for the network as trained, `adapted_K`), and the ROC of the frozen network.

    Frozen: all pairs of the seen classes' calibration images. Adapted on K images: one adaptation to each validation
    class, or to some seen ones where there are none. Its same pairs are those of the class's calibration images; its
    different pairs are of one of these and one of a seen class's. All K-shot adaptations share one balanced threshold.
    """
    params, split = context.params, context.split
    seen_rows, seen_labels = seen_calibration_images(split)
    pairs = Verification(*pair_similarities(context.embed_train(seen_rows), seen_labels))
    thresholds = {"frozen": calibrate(pairs, params.threshold.criterion, params.threshold.target_fpr)}
    roc = roc_table(pairs, thresholds["frozen"])

    chosen = split.validation or some_seen_classes(context)
    work = [(name, shots, label) for name, shots in context.shots.items() for label in chosen]
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in context.shots}
    for name, shots, label in tqdm(work, desc="adapted thresholds", unit="adaptation", mininterval=1):
        adapted, _ = context.adapted_to_class(label, shots, draw=0)
        positives = context.embed_train(split.calibration[label], adapted)
        negatives = context.embed_train(seen_rows[seen_labels != label], adapted)
        parts[name].append(pair_similarities(positives, np.full(len(positives), label), negatives))
    for name, found in parts.items():
        same, different = (np.concatenate(side) for side in zip(*found, strict=True))
        thresholds[name] = calibrate(Verification(same, different), "balanced")
    return {name: threshold._asdict() for name, threshold in thresholds.items()}, roc
