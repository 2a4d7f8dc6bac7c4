"""A table of experiments that fits 120 columns: `dvc exp show` with a few metrics and the parameters that differ.

python scripts/experiments.py [options of `dvc exp show`, such as --all-commits or --sort-by meta_step]
"""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from oneshot.errors import UserError
from oneshot.params import Params
from oneshot.stage import run_stage

WIDTH = 120
METRICS = {  # of the training that `training` selects: key in the metrics, heading
    "unseen.triplet_accuracy": "triplet",
    "unseen.binary_accuracy": "binary",
    "unseen.binary_accuracy_best": "best binary",
    "one_shot.accuracy": "one-shot",
    "five_shot.accuracy": "five-shot",
}

Row = dict[str, str]


def main() -> None:
    print(table(experiments(sys.argv[1:])))
    print("Metrics are of unseen classes (validation classes where evaluate_unseen is false), fractions of 1,")
    print("by the training that the parameter `training` selects.")


def experiments(options: list[str]) -> list[Row]:
    """The rows of `dvc exp show --csv`.

    Raises:
        UserError: DVC refuses; it has said why.
    """
    command = [sys.executable, "-m", "dvc", "exp", "show", "--csv", *options]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise UserError("`dvc exp show` failed; it works in a Git repository with at least one commit")
    return list(csv.DictReader(done.stdout.splitlines()))


def table(rows: list[Row]) -> str:
    """Name, state, the parameters that differ, and `METRICS`, at most `WIDTH` characters wide."""
    columns = [column("experiment", [name(row) for row in rows])]
    if any(row.get("State") for row in rows):
        columns.append(column("state", [row["State"] for row in rows]))
    metrics = [column(heading, [metric(row, key) for row in rows]) for key, heading in METRICS.items()]
    differing = [key for key in Params.model_fields if len({row.get(key, "") for row in rows}) > 1]
    params = [column(key, [row.get(key, "") for row in rows]) for key in differing]
    room = WIDTH - sum(len(cells[0]) for cells in columns + metrics)
    shown = 0
    while shown < len(params) and len(params[shown][0]) <= room:
        room -= len(params[shown][0])
        shown += 1
    lines = ["".join(cells).rstrip() for cells in zip(*columns, *params[:shown], *metrics, strict=True)]
    if differing[shown:]:
        lines.append(f"No room for these parameters, which differ too: {', '.join(differing[shown:])}")
    return "\n".join(lines)


def column(heading: str, cells: list[str]) -> list[str]:
    """Heading and cells, padded to the same width."""
    width = max(map(len, [heading, *cells])) + 2
    return [cell.ljust(width) for cell in [heading, *cells]]


def name(row: Row) -> str:
    """An experiment's name, or the branch or commit that experiments start from; cut to 30 characters."""
    return ("  " + row["Experiment"] if row["Experiment"] else row["rev"])[:30]


def metric(row: Row, key: str) -> str:
    """A metric with 4 digits, of validation classes where no unseen one was measured; '-' where nothing has run."""
    places = (key, f"validation.{key.removeprefix('unseen.')}")
    values = (row.get(prefix + place) for place in places for prefix in ("metrics/evaluation.json:", ""))
    return next((f"{float(value):.4f}" for value in values if value), "-")


if __name__ == "__main__":
    run_stage(main)
