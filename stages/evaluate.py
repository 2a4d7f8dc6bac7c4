"""Measure a trained network on seen and unseen classes: `evaluate.py classic` or `evaluate.py meta`."""

import _checkout  # noqa: F401

from pathlib import Path

from oneshot.common.files import read_json, write_json, write_table
from oneshot.common.stage import run_stage
from oneshot.evaluation.context import Context
from oneshot.evaluation.embedded import chosen_method
from oneshot.evaluation.measure import evaluate
from oneshot.hardware.device import describe


def main() -> None:
    method = chosen_method()
    context, output = Context.of(method), Path(f"results/evaluated/{method}")
    details, classes, roc = evaluate(context, read_json(f"results/calibrated/{method}/thresholds.json"))
    write_json(output / "details.json", details)
    write_table(output / "classes.csv", classes)
    write_table(output / "roc.csv", roc)
    write_json(output / "record.json", describe(context.compute))


if __name__ == "__main__":
    run_stage(main)
