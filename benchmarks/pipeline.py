"""What the pipeline costs: `dvc repro` with nothing to do, and the time and memory of each stage."""

from __future__ import annotations

import subprocess
import sys
import time

import yaml
from timing import ROOT, peak_memory, side_by_side, spread

from oneshot.common.files import write_text
from oneshot.record.runs import mirror_project, params_with

FEWER = {"image_budget": 20_000}  # what a training holds at a time stays; how long it takes, images a second say


def nothing_to_do(rounds: int) -> dict[str, float] | None:
    """Seconds of `dvc repro` in the project when all is up to date; None where it is not."""

    def dvc(command: str) -> int:
        return subprocess.run([sys.executable, "-m", "dvc", command, "--quiet"], cwd=ROOT).returncode

    if dvc("status"):
        return None
    return spread(side_by_side({"repro": lambda: dvc("repro")}, rounds, warm_up=0)["repro"])


def stages() -> dict[str, dict[str, float]]:
    """Seconds of each stage, and the GiB that it holds at most, on the project's data, in runs/benchmark/."""
    folder, costs = ROOT / "runs/benchmark", {}
    mirror_project(ROOT, folder)
    write_text(folder / "params.yaml", params_with(ROOT, FEWER))
    for name, command in stage_commands().items():
        began = time.monotonic()
        gib = peak_memory([sys.executable, *command.split()[1:]], folder, folder / "log.txt")
        costs[name] = {"seconds": round(time.monotonic() - began, 1), "gib": gib}
    return costs


def stage_commands() -> dict[str, str]:
    """The command of each stage of dvc.yaml, in order; one for each training where the stage is for either."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    commands = {}
    for name, stage in stages.items():
        for method in stage.get("matrix", {}).get("method", [""]):
            commands[f"{name} {method}".strip()] = stage["cmd"].replace("${item.method}", method)
    return commands
