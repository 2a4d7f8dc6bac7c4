"""Calibrate similarity thresholds by ROC: `calibrate.py classic` or `calibrate.py meta`."""

import _checkout  # noqa: F401

from pathlib import Path

from oneshot.common.files import write_json, write_table
from oneshot.common.stage import run_stage
from oneshot.evaluation.context import Context
from oneshot.evaluation.embedded import chosen_method
from oneshot.evaluation.thresholds import calibrate_thresholds
from oneshot.hardware.device import describe


def main() -> None:
    method = chosen_method()
    context, output = Context.of(method), Path(f"results/calibrated/{method}")
    thresholds, roc = calibrate_thresholds(context)
    write_json(output / "thresholds.json", thresholds)
    write_table(output / "roc.csv", roc)
    write_json(output / "record.json", describe(context.compute))


if __name__ == "__main__":
    run_stage(main)
