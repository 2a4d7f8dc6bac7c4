"""Choose on validation classes, with trained networks, how far to adapt and which threshold to take.

    python scripts/run_config.py configs/validation.yaml
    python scripts/search.py adaptation runs/validation

    python scripts/run_studies.py twice_as_the_default four_times_as_the_default cifar_fs
    python scripts/search.py threshold runs/twice_as_the_default runs/four_times_as_the_default runs/cifar_fs

The first writes studies/adaptation.csv: gains in triplet accuracy over the frozen network, for each number of images.
The pair of rate and steps with the best mean is chosen. The second writes studies/threshold.csv: the false-positive
rate among seen classes of the threshold that is best for validation classes, and the binary accuracy that each
criterion, calibrated on seen classes, loses against it.
"""

from __future__ import annotations

import os
from itertools import product
from statistics import mean

import numpy as np
from _project import ROOT
from tqdm import tqdm

from oneshot.common.errors import UserError
from oneshot.common.files import write_table
from oneshot.common.stage import Parser, run_stage
from oneshot.evaluation.calibration import Criterion, calibrate
from oneshot.evaluation.context import Context
from oneshot.evaluation.metrics import Verification, pair_similarities, triplet_accuracy
from oneshot.evaluation.thresholds import seen_calibration_images
from oneshot.report.comparison import METHODS, Rows

LEARNING_RATES = {"map": (1.0, 3.0, 10.0, 30.0), "all": (0.03, 0.1, 0.3)}
STEPS = (5, 20)
DRAWS = 3  # of the images of a class: enough to choose by
FPRS = (0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.22, 0.25)


def main() -> None:
    searches = {"adaptation": adaptation, "threshold": threshold}
    parser = Parser(description="Choose how far to adapt, or the threshold, on validation classes.")
    parser.add_argument("search", choices=searches)
    parser.add_argument("folders", nargs="+", help="runs with validation classes, such as runs/validation")
    arguments = parser.parse_args()
    rows: Rows = []
    for folder, method in product(arguments.folders, METHODS):
        os.chdir(ROOT / folder)
        context = Context.of(method)
        if not context.split.validation:
            raise UserError(f"{folder}: has no validation classes; set split.validation_classes")
        if arguments.search == "adaptation" and not context.shots:
            raise UserError(f"{folder}: has no numbers of images to adapt on; set adaptation.shots")
        rows += [{"method": method} | row for row in searches[arguments.search](context)]
    write_table(ROOT / f"studies/{arguments.search}.csv", rows)
    if arguments.search == "adaptation":
        rate, steps = choose(rows)
        print(f"adaptation.steps: {steps}\nadaptation.learning_rate: {rate}")


def adaptation(context: Context) -> Rows:
    """Gains for all learning rates and steps, by number of images."""
    group = context.classes("validation", context.split.validation)
    frozen = triplet_accuracy(group.embeddings, group.labels)
    params, rows = context.params.adaptation, []
    for rate, steps in tqdm(list(product(LEARNING_RATES[params.weights], STEPS)), mininterval=1):
        context.adapter.params = params.model_copy(update={"steps": steps, "learning_rate": rate})
        gains = dict.fromkeys(context.shots, 0.0)
        for (name, shots), (label, before) in product(context.shots.items(), frozen.items()):
            after: list[float] = []
            for draw in range(DRAWS if shots else 1):
                adapted, _ = context.adapted_to_class(label, shots, draw)
                sides = (group.labels == label, group.labels != label)
                own, other = (context.embed_test(group.rows[side], adapted) for side in sides)
                after += triplet_accuracy(own, np.zeros(len(own), dtype=np.int64), other).values()
            gains[name] += (mean(after) - before) / len(frozen)
        figures = {"mean": mean(gains.values())} | gains
        rows.append({"learning_rate": rate, "steps": steps} | {key: round(gain, 5) for key, gain in figures.items()})
        tqdm.write(str(rows[-1]))
    return rows


def choose(rows: Rows) -> tuple[float, int]:
    """The learning rate and steps with the highest mean gain over trainings; no steps where none gains."""
    gains: dict[tuple[float, int], list[float]] = {}
    for row in rows:
        gains.setdefault((row["learning_rate"], row["steps"]), []).append(row["mean"])
    rate, steps = max(gains, key=lambda way: mean(gains[way]))
    return rate, steps if mean(gains[rate, steps]) > 0 else 0


def threshold(context: Context) -> Rows:
    """One row: the best rate for validation classes, and what each criterion loses against the best threshold."""
    rows, labels = seen_calibration_images(context.split)
    seen = Verification(*pair_similarities(context.embed_train(rows), labels))
    group = context.classes("validation", context.split.validation)
    validation = Verification(*pair_similarities(group.embeddings, group.labels))
    accuracy, best = validation.best()
    rate = float(seen.rates(np.array(best, dtype=np.float32))[1])
    row = {"images": context.about["images"], "best_accuracy": round(accuracy, 5), "best_fpr_seen": round(rate, 4)}
    criteria: dict[str, tuple[Criterion, float]] = {"balanced": ("balanced", 0.5), "eer": ("eer", 0.5)}
    criteria |= {f"fpr_{100 * fpr:.0f}": ("fpr", fpr) for fpr in FPRS}
    for name, criterion in criteria.items():
        row[name] = round(accuracy - validation.binary_accuracy(calibrate(seen, *criterion).threshold), 5)
    print(row, flush=True)
    return [row]


if __name__ == "__main__":
    run_stage(main)
