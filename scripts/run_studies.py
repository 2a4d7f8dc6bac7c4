"""Make the record of experiments: each line of studies/runs.yaml is a run of the pipeline and a file in studies/.

    python scripts/run_studies.py                  those that have no file yet and need nothing special, in turn
    python scripts/run_studies.py seed_2 seed_3    these, again if need be

Killed and run again, it goes on where it was. Two such commands, each with names of its own and `--threads 1`, share
two cores better than one with two threads uses them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from ruamel.yaml import YAML
from run_config import read_overrides, run_pipeline

from oneshot.comparison import METHODS, side_by_side
from oneshot.errors import UserError
from oneshot.files import read_json, read_table, write_json
from oneshot.stage import run_stage

RECORD = ROOT / "studies/runs.yaml"
RUNNING = ("training", "device", "precision", "threads", "checkpoint_steps")  # change no figure beyond rounding


def main() -> None:
    parser = argparse.ArgumentParser(description="Run experiments, and record them in studies/.")
    parser.add_argument("names", nargs="*", help="which; those without a file in studies/ if none is named")
    parser.add_argument("--threads", type=int, help="CPU threads of each training")
    arguments = parser.parse_args()
    studies = load_studies()
    for name in arguments.names:
        if name not in studies:
            raise UserError(f"{os.path.relpath(RECORD)}: has no {name}; it has {', '.join(studies)}")
    for name in arguments.names or due(studies):
        study = studies[name]
        overrides = changes(study) | ({"threads": arguments.threads} if arguments.threads else {})
        print(f"{name}: {study['why']}", flush=True)
        folder = run_pipeline(name, overrides, *(f"evaluate@{method}" for method in METHODS))
        about = {"why": study["why"], "default": default_digest(overrides), "parameters": overrides}
        write_json(result_file(name), about | results(folder))


def load_studies() -> dict[str, dict[str, Any]]:
    """The lines of studies/runs.yaml.

    Raises:
        UserError: a line with other keys than the file's first lines name.
    """
    studies = YAML(typ="safe").load(RECORD.read_text(encoding="utf-8"))
    for name, study in studies.items():
        if not isinstance(study, dict) or not {"why", "set"} <= set(study) <= {"why", "set", "config", "needs"}:
            keys = "must have `why` and `set`, and may have `config` and `needs`"
            raise UserError(f"{os.path.relpath(RECORD)}: {name}: {keys}")
    return dict(studies)


def changes(study: dict[str, Any]) -> dict[str, Any]:
    """What a line changes of params.yaml: its config's values, and after them its own."""
    return (read_overrides(ROOT / study["config"], []) if "config" in study else {}) | study["set"]


def due(studies: dict[str, dict[str, Any]], root: Path = ROOT) -> list[str]:
    """Names of the lines that have no figures for the present default, and need nothing but time."""
    return [name for name, study in studies.items() if "needs" not in study and load_line(name, study, root) is None]


def default_digest(overrides: dict[str, Any], root: Path = ROOT) -> str:
    """8 hex digits that change with every default in params.yaml that a study does not set itself."""
    defaults = YAML(typ="safe").load((root / "params.yaml").read_text(encoding="utf-8"))
    kept = {name: value for name, value in _settings(defaults).items() if name not in overrides}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]


def result_file(name: str, root: Path = ROOT) -> Path:
    """Where a study's figures are recorded."""
    return root / "studies" / f"{name}.json"


def load_result(name: str, root: Path = ROOT) -> dict[str, Any] | None:
    """A study's figures; None where there are none, or where they belong to another default."""
    if not result_file(name, root).exists():
        return None
    result: dict[str, Any] = read_json(result_file(name, root))
    return result if result["default"] == default_digest(result["parameters"], root) else None


def load_line(name: str, study: dict[str, Any], root: Path = ROOT) -> dict[str, Any] | None:
    """The figures of a line as it now stands; None where there are none for it."""
    result = load_result(name, root)
    return result if result is not None and _settings(result["parameters"]) == _settings(changes(study)) else None


def _settings(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name not in RUNNING}


def results(folder: Path) -> dict[str, Any]:
    """Metrics of both trainings, their records, and the figures of each new class."""
    evaluated = {method: folder / f"results/evaluated/{method}" for method in METHODS}
    metrics = {method: read_json(path / "metrics.json") for method, path in evaluated.items()}
    records = {f"record_{method}": read_json(folder / f"results/trained/{method}/record.json") for method in METHODS}
    classes = side_by_side(*(read_table(path / "novel_classes.csv") for path in evaluated.values()))
    return metrics | records | {"classes": classes}


if __name__ == "__main__":
    run_stage(main)
