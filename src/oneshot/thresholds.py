"""Thresholds for a trained network and for its adapted clones, from images that training never saw.

No image of an unseen class takes part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tqdm import tqdm

from oneshot.calibration import calibrate, roc_table
from oneshot.metrics import pair_similarities
from oneshot.sampling import random_stream
from oneshot.split import Split
from oneshot.subject import Subject


def seen_calibration_images(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Rows and labels, both (N,) int64, of the images of seen classes that are set aside, class after class."""
    parts = [split.calibration[label] for label in split.seen]
    return np.concatenate(parts), np.repeat(split.seen, [len(part) for part in parts])


def calibrate_thresholds(subject: Subject) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Thresholds by name (`frozen` for the network as trained, `adapted_K`), and the ROC of the frozen network.

    Frozen: all pairs of the seen classes' calibration images. Adapted on K images: clones for the validation
    classes, or for `adapt_classes` seen ones where there are none; pairs of the class's calibration images
    are the same ones, pairs with those of seen classes the different ones; all clones share a threshold.
    """
    params, split = subject.params, subject.split
    seen_rows, seen_labels = seen_calibration_images(split)
    same, different = pair_similarities(subject.embed_train(seen_rows), seen_labels)
    thresholds = {"frozen": calibrate(same, different, params.threshold_criterion, params.target_fpr)}
    roc = roc_table(same, different, thresholds["frozen"])

    rng = random_stream(params.seed, "adaptation")
    chosen = split.validation or sorted(rng.choice(split.seen, params.adapt_classes, replace=False).tolist())
    work = [(name, shots, label) for name, shots in subject.shots.items() for label in chosen]
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in subject.shots}
    for name, shots, label in tqdm(work, desc="adapted thresholds", unit="clone", mininterval=1):
        clone, _ = subject.adapted_to_class(label, shots, draw=0)
        positives = subject.embed_train(split.calibration[label], clone)
        negatives = subject.embed_train(seen_rows[seen_labels != label], clone)
        pairs[name].append(pair_similarities(positives, np.full(len(positives), label), negatives))
    for name, parts in pairs.items():
        same, different = (np.concatenate(side) for side in zip(*parts, strict=True))
        thresholds[name] = calibrate(same, different, params.adapt_threshold_criterion, params.target_fpr)
    return {name: threshold._asdict() for name, threshold in thresholds.items()}, roc
