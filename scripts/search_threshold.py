"""Choose the criterion of the threshold on validation classes: at which false-positive rate among seen classes?

    python scripts/run_studies.py twice_as_the_default four_times_as_the_default cifar_fs
    python scripts/search_threshold.py runs/twice_as_the_default runs/four_times_as_the_default runs/cifar_fs

Prints and writes studies/thresholds.csv: for each run and training, the rate among seen classes of the threshold that
is best for validation classes, and what each criterion, calibrated on seen classes, loses against that threshold.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import numpy as np
from _project import ROOT

from oneshot.common.errors import UserError
from oneshot.common.files import write_table
from oneshot.common.stage import run_stage
from oneshot.evaluation.calibration import Criterion, calibrate
from oneshot.evaluation.context import Context
from oneshot.evaluation.metrics import Verification, pair_similarities
from oneshot.evaluation.thresholds import seen_calibration_images
from oneshot.report.comparison import METHODS

RATES = (0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.22, 0.25)


def main() -> None:
    parser = argparse.ArgumentParser(description="Choose the criterion of the threshold, on validation classes.")
    parser.add_argument("folders", nargs="+", help="runs with validation classes, such as runs/validation")
    rows = []
    for folder in parser.parse_args().folders:
        os.chdir(ROOT / folder)
        for method in METHODS:
            context = Context.of(method)
            if not context.split.validation:
                raise UserError(f"{folder}: has no validation classes; set split.validation_classes")
            rows.append({"method": method, "images": context.about["images"]} | losses(context))
            print(" ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    write_table(ROOT / "studies/thresholds.csv", rows)


def losses(context: Context) -> dict[str, Any]:
    """The best rate for validation classes, and the accuracy that each criterion loses against the best threshold."""
    rows, labels = seen_calibration_images(context.split)
    seen = Verification(*pair_similarities(context.embed_train(rows), labels))
    group = context.classes("validation", context.split.validation)
    validation = Verification(*pair_similarities(group.embeddings, group.labels))
    accuracy, threshold = validation.best()
    _, rate = seen.rates(np.array(threshold, dtype=np.float32))
    criteria: dict[str, tuple[Criterion, float]] = {"balanced": ("balanced", 0.5), "eer": ("eer", 0.5)}
    criteria |= {f"fpr_{fpr:.2f}": ("fpr", fpr) for fpr in RATES}
    return {"best_accuracy": round(accuracy, 5), "best_fpr_seen": round(float(rate), 4)} | {
        name: round(accuracy - validation.binary_accuracy(calibrate(seen, *criterion).threshold), 5)
        for name, criterion in criteria.items()
    }


if __name__ == "__main__":
    run_stage(main)
