"""Exact evaluation of 10,000 embeddings: all pairs, all triplets and the ROC curve, beside scikit-learn's ROC alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score, roc_curve
from timing import peak_memory, ratio, side_by_side, spread

from oneshot.metrics import measure, pair_similarities

IMAGES, CLASSES, DIMENSIONS = 10_000, 100, 256


def embeddings() -> tuple[torch.Tensor, np.ndarray]:
    """Unit vectors (IMAGES, DIMENSIONS) that lie around one direction a class, and their labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(IMAGES) % CLASSES
    vectors = rng.standard_normal((CLASSES, DIMENSIONS))[labels] + 2 * rng.standard_normal((IMAGES, DIMENSIONS))
    return torch.nn.functional.normalize(torch.from_numpy(vectors).float(), dim=1), labels


def ours() -> dict[str, float]:
    """Every figure of the project."""
    return measure(*embeddings(), threshold=0.3)


def scikit_learn() -> float:
    """The ROC curve of the same pairs, and the area below it."""
    same, different = pair_similarities(*embeddings())
    truth, scores = np.repeat([1, 0], [len(same), len(different)]), np.concatenate([same, different])
    roc_curve(truth, scores)
    return float(roc_auc_score(truth, scores))


def exact_evaluation(rounds: int) -> dict[str, Any]:
    """Seconds and GiB of both; the area under the curve, to show that they count the same."""
    figures, memory = peak_memory(ours)
    area, memory_of_sklearn = peak_memory(scikit_learn)
    seconds = side_by_side({"ours": ours, "scikit-learn": scikit_learn}, rounds, warm_up=0)
    return {
        "embeddings": IMAGES,
        "pairs": IMAGES * (IMAGES - 1) // 2,
        "seconds": {name: spread(values) for name, values in seconds.items()},
        "faster": ratio(seconds["scikit-learn"], seconds["ours"]),
        "peak_gib": {"ours": round(memory, 2), "scikit-learn": round(memory_of_sklearn, 2)},
        "roc_auc": {"ours": figures["roc_auc"], "scikit-learn": area},
    }
