"""Calibrate similarity thresholds by ROC: `calibrate.py classic` or `calibrate.py meta`."""

import _checkout  # noqa: F401

from pathlib import Path

from oneshot.compute import describe
from oneshot.files import write_json, write_table
from oneshot.params import load_params
from oneshot.stage import run_stage
from oneshot.subject import Subject, chosen_method
from oneshot.thresholds import calibrate_thresholds


def main() -> None:
    method = chosen_method()
    model, output = Path(f"results/trained/{method}/model.pt"), Path(f"results/calibrated/{method}")
    subject = Subject(load_params(), model, Path("data/dataset"), Path("data/split.json"))
    thresholds, roc = calibrate_thresholds(subject)
    write_json(output / "thresholds.json", thresholds)
    write_table(output / "roc.csv", roc)
    write_json(output / "record.json", describe(subject.compute))


if __name__ == "__main__":
    run_stage(main)
