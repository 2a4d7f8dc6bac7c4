"""Choose how far to adapt, for each training and number of support images, on validation classes.

    python scripts/run_config.py configs/validation.yaml
    python scripts/search_adaptation.py runs/validation

Prints and writes <folder>/adaptation_<training>.csv: the mean gain in triplet accuracy over the frozen network, for
each learning rate and number of steps; and the values for params.yaml. No step is chosen where none gains.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import numpy as np
from tqdm import tqdm

from oneshot.adaptation import Pace
from oneshot.errors import UserError
from oneshot.files import write_table
from oneshot.metrics import triplet_accuracy
from oneshot.params import load_params
from oneshot.stage import run_stage
from oneshot.subject import Subject

RATES = {"metric": (1.0, 3.0, 10.0, 30.0), "all": (0.03, 0.1, 0.3)}
STEPS = (5, 20)


def main() -> None:
    parser = argparse.ArgumentParser(description="Choose how far to adapt, on validation classes.")
    parser.add_argument("folder", help="a run with validation classes, such as runs/validation")
    parser.add_argument("--method", choices=("classic", "meta"), action="append", help="one training alone")
    arguments = parser.parse_args()
    os.chdir(arguments.folder)
    rows: list[dict[str, Any]] = []
    for method in arguments.method or ("classic", "meta"):
        subject = Subject(
            load_params(), Path(f"results/trained/{method}/model.pt"), Path("data/dataset"), Path("data/split.json")
        )
        if not subject.split.validation:
            raise UserError(f"{arguments.folder}: has no validation classes; set validation_classes")
        rows += search(subject, method)
        write_table(f"adaptation_{method}.csv", [row for row in rows if row["method"] == method])
    for method in dict.fromkeys(row["method"] for row in rows):
        best = [choose([r for r in rows if r["method"] == method and r["shots"] == shots]) for shots in names(rows)]
        print(f"adapt_{method}_steps: {[pace.steps for pace in best]}")
        print(f"adapt_{method}_learning_rate: {[pace.learning_rate for pace in best]}")


def names(rows: list[dict[str, Any]]) -> list[str]:
    """The numbers of support images, in the order of params.yaml: ascending, then all."""
    return sorted({row["shots"] for row in rows}, key=lambda shots: float("inf") if shots == "all" else int(shots))


def search(subject: Subject, method: str) -> list[dict[str, Any]]:
    """Gains of one training for all numbers of support images, learning rates and steps."""
    rows = subject.test_rows(subject.split.validation)
    labels = subject.test_labels[rows]
    frozen = triplet_accuracy(subject.embed_test(rows), labels)
    work = [
        (shots, rate, steps)
        for shots in (None, *reversed(subject.params.adapt_shots))
        for rate in RATES[subject.params.adapt_weights]
        for steps in STEPS
    ]
    table = []
    with tqdm(total=len(work) * len(frozen), desc=method, unit="class", mininterval=1) as bar:
        for shots, rate, steps in work:
            gains = []
            for label, before in frozen.items():
                mine, rest = rows[labels == label], rows[labels != label]
                after: list[float] = []
                for draw in range(subject.params.adapt_draws if shots else 1):
                    clone, _ = subject.adapted_to_class(label, shots, draw, Pace(steps, rate))
                    own, other = (subject.embed_test(side, clone) for side in (mine, rest))
                    after += triplet_accuracy(own, np.zeros(len(own), dtype=np.int64), other).values()
                gains.append(float(np.mean(after)) - before)
                bar.update()
            gain, error = float(np.mean(gains)), float(np.std(gains, ddof=1) / len(gains) ** 0.5)
            figures = {"gain": round(gain, 5), "standard_error": round(error, 5)}
            table.append(
                {"method": method, "shots": str(shots or "all"), "learning_rate": rate, "steps": steps} | figures
            )
            tqdm.write(" ".join(f"{key} {value}" for key, value in table[-1].items()))
    return table


def choose(rows: list[dict[str, Any]]) -> Pace:
    """The pace with the highest mean gain; no steps where none gains."""
    best = max(rows, key=lambda row: row["gain"])
    return Pace(best["steps"] if best["gain"] > 0 else 0, best["learning_rate"])


if __name__ == "__main__":
    run_stage(main)
