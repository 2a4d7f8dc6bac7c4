"""Choose how far to adapt, on validation classes: one learning rate and number of steps for all that is adapted.

    python scripts/run_config.py configs/validation.yaml
    python scripts/search_adaptation.py runs/validation

Prints and writes <folder>/adaptation.csv: the mean gain in triplet accuracy over the frozen network, for each training,
number of images, learning rate and number of steps. The pair with the best mean over all of these is chosen.
"""

from __future__ import annotations

import argparse
import os
from statistics import mean
from typing import Any

import _project  # noqa: F401
import numpy as np
from tqdm import tqdm

from oneshot.adaptation.adapter import Adapter
from oneshot.common.errors import UserError
from oneshot.common.files import write_table
from oneshot.common.stage import run_stage
from oneshot.evaluation.context import Context
from oneshot.evaluation.episodes import estimate
from oneshot.evaluation.metrics import triplet_accuracy
from oneshot.report.comparison import METHODS

RATES = {"map": (1.0, 3.0, 10.0, 30.0), "all": (0.03, 0.1, 0.3)}
STEPS = (5, 20)
DRAWS = 3  # of the images of a class: enough to choose by
Rows = list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Choose how far to adapt, on validation classes.")
    parser.add_argument("folder", help="a run with validation classes, such as runs/validation")
    folder = parser.parse_args().folder
    os.chdir(folder)
    rows: Rows = []
    for method in METHODS:
        context = Context.of(method)
        if not context.split.validation:
            raise UserError(f"{folder}: has no validation classes; set split.validation_classes")
        rows += search(context, method)
        write_table("adaptation.csv", rows)
    rate, steps = choose(rows)
    print(f"adaptation.steps: {steps}\nadaptation.learning_rate: {rate}")


def search(context: Context, method: str) -> Rows:
    """Gains of one training for all numbers of images, learning rates and steps."""
    group = context.classes("validation", context.split.validation)
    frozen = triplet_accuracy(group.embeddings, group.labels)
    ways = [(rate, steps) for rate in RATES[context.params.adaptation.weights] for steps in STEPS]
    work = [(shots, *way) for shots in context.shots.values() for way in ways]
    rows = []
    for shots, rate, steps in tqdm(work, desc=method, mininterval=1):
        chosen = context.params.adaptation.model_copy(update={"steps": steps, "learning_rate": rate})
        context.adapter = Adapter(chosen, context.frozen, context.train_images, context.params.loss.soft_scale)
        gains = []
        for label, before in frozen.items():
            after: list[float] = []
            for draw in range(DRAWS if shots else 1):
                adapted, _ = context.adapted_to_class(label, shots, draw)
                own, other = (
                    context.embed_test(group.rows[side], adapted)
                    for side in (group.labels == label, group.labels != label)
                )
                after += triplet_accuracy(own, np.zeros(len(own), dtype=np.int64), other).values()
            gains.append(mean(after) - before)
        figures = {"gain": round(mean(gains), 5), "ci95": round(estimate(gains).ci95, 5)}
        rows.append({"method": method, "shots": str(shots or "all"), "learning_rate": rate, "steps": steps} | figures)
        tqdm.write(" ".join(f"{key} {value}" for key, value in rows[-1].items()))
    return rows


def choose(rows: Rows) -> tuple[float, int]:
    """The learning rate and steps with the highest mean gain over trainings and numbers of images.

    No steps where none gains.
    """
    gains: dict[tuple[float, int], list[float]] = {}
    for row in rows:
        gains.setdefault((row["learning_rate"], row["steps"]), []).append(row["gain"])
    rate, steps = max(gains, key=lambda way: mean(gains[way]))
    return rate, steps if mean(gains[rate, steps]) > 0 else 0


if __name__ == "__main__":
    run_stage(main)
