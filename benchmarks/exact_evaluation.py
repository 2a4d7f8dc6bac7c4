"""Exact evaluation of 10,000 embeddings: all pairs, all triplets and the ROC curve, beside scikit-learn's ROC alone."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import peak_memory, side_by_side, spread

from oneshot.evaluation.metrics import measure, pair_similarities

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
    from sklearn.metrics import auc, roc_curve  # here alone: its memory is not ours

    same, different = pair_similarities(*embeddings())
    truth = np.repeat(np.array([1, 0], dtype=np.uint8), [len(same), len(different)])
    fpr, tpr, _ = roc_curve(truth, np.concatenate([same, different]))
    return float(auc(fpr, tpr))


def exact_evaluation(rounds: int) -> dict[str, Any]:
    """Seconds and GiB of both."""
    ways = {"ours": ours, "scikit-learn": scikit_learn}
    seconds = side_by_side(ways, rounds, warm_up=0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        memory = {name: peak_memory([sys.executable, __file__, name], folder, folder / "log") for name in ways}
    return {
        "embeddings": IMAGES,
        "pairs": IMAGES * (IMAGES - 1) // 2,
        "seconds": {name: spread(values) for name, values in seconds.items()},
        "peak_gib": memory,
    }


if __name__ == "__main__":
    print({"ours": ours, "scikit-learn": scikit_learn}[sys.argv[1]]())
