"""Measure a trained network on seen and unseen classes: `evaluate.py classic` or `evaluate.py meta`."""

import _checkout  # noqa: F401

from pathlib import Path

from oneshot.compute import describe
from oneshot.evaluation import evaluate
from oneshot.files import read_json, write_json, write_table
from oneshot.params import load_params
from oneshot.stage import run_stage
from oneshot.subject import Subject, chosen_method


def main() -> None:
    method = chosen_method()
    model, output = Path(f"results/trained/{method}/model.pt"), Path(f"results/evaluated/{method}")
    subject = Subject(load_params(), model, Path("data/dataset"), Path("data/split.json"))
    metrics, classes, roc = evaluate(subject, read_json(f"results/calibrated/{method}/thresholds.json"))
    write_json(output / "metrics.json", metrics)
    write_table(output / "novel_classes.csv", classes)
    write_table(output / "roc.csv", roc)
    write_json(output / "record.json", describe(subject.compute))


if __name__ == "__main__":
    run_stage(main)
