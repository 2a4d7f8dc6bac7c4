"""Choose the criterion of the threshold on validation classes: at which false-positive rate among seen classes?

    python scripts/run_studies.py twice_as_the_default four_times_as_the_default cifar_fs
    python scripts/search_threshold.py runs/twice_as_the_default runs/four_times_as_the_default runs/cifar_fs

Prints and writes studies/thresholds.csv: for each run and training, the rate among seen classes of the threshold that
is best for validation classes, and what each criterion, calibrated on seen classes, loses against that threshold.
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

from oneshot.calibration import calibrate
from oneshot.comparison import METHODS
from oneshot.errors import UserError
from oneshot.files import write_table
from oneshot.metrics import Verification, pair_similarities
from oneshot.params import load_params
from oneshot.stage import run_stage
from oneshot.subject import Subject
from oneshot.thresholds import seen_calibration_images

RATES = (0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.22, 0.25)


def main() -> None:
    parser = argparse.ArgumentParser(description="Choose the criterion of the threshold, on validation classes.")
    parser.add_argument("folders", nargs="+", help="runs with validation classes, such as runs/validation")
    rows = []
    for folder in parser.parse_args().folders:
        os.chdir(ROOT / folder)
        for method in METHODS:
            model = Path(f"results/trained/{method}/model.pt")
            subject = Subject(load_params(), model, Path("data/dataset"), Path("data/split.json"))
            if not subject.split.validation:
                raise UserError(f"{folder}: has no validation classes; set validation_classes")
            rows.append({"method": method, "images": subject.about["images"]} | losses(subject))
            print(" ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    write_table(ROOT / "studies/thresholds.csv", rows)


def losses(subject: Subject) -> dict[str, Any]:
    """The best rate for validation classes, and the accuracy that each criterion loses against the best threshold."""
    split = subject.split
    rows, labels = seen_calibration_images(split)
    same, different = pair_similarities(subject.embed_train(rows), labels)
    test = subject.test_rows(split.validation)
    new = Verification(*pair_similarities(subject.embed_test(test), subject.test_labels[test]))
    accuracy, threshold = new.best()
    _, rate = Verification(same, different).rates(np.array(threshold, dtype=np.float32))
    criteria = {"balanced": ("balanced", 0.5), "eer": ("eer", 0.5)} | {f"fpr_{r:.2f}": ("fpr", r) for r in RATES}
    return {"best_accuracy": round(accuracy, 5), "best_fpr_seen": round(float(rate), 4)} | {
        name: round(accuracy - new.binary_accuracy(calibrate(same, different, *criterion).threshold), 5)
        for name, criterion in criteria.items()
    }


if __name__ == "__main__":
    run_stage(main)
