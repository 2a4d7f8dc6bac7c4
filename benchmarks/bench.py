"""Measure what training, evaluation and the pipeline cost, and write benchmarks/results.json.

    python benchmarks/bench.py                      everything, twenty minutes on two cores that do nothing else
    python benchmarks/bench.py against_bare_loop    one part or several; the others' figures are kept

Contenders take turns, so their ratios hold on a noisy machine; absolute figures belong to the hardware that is named.
Figures of other machines stay beside.
Nothing here passes or fails. `dvc repro` comes first: it gets the data.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from cores import threads_and_load
from exact_evaluation import exact_evaluation
from gpu import recorded_steps
from pipeline import nothing_to_do, stages
from timing import ROOT
from training import Trainers, against_bare, against_reference, of_project

from oneshot.common.files import read_json, write_json
from oneshot.common.stage import Parser, run_stage
from oneshot.hardware.device import describe, set_up

RESULTS = ROOT / "benchmarks/results.json"


def main() -> None:
    parts: dict[str, Callable[[Trainers, int], Any]] = {
        "against_bare_loop": against_bare,
        "threads_and_load": lambda trainers, rounds: threads_and_load(max(1, rounds // 4)),
        "recorded_steps": recorded_steps,
        "against_reference_way": against_reference,
        "exact_evaluation": lambda trainers, rounds: exact_evaluation(max(3, rounds // 3)),
        "repro_with_nothing_to_do": lambda trainers, rounds: nothing_to_do(rounds),
        "stages": lambda trainers, rounds: stages(),
    }
    parser = Parser(description="Measure what training, evaluation and the pipeline cost.")
    parser.add_argument("parts", nargs="*", choices=["all", *parts], default="all", help="default: all")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each contender (default: 9)")
    arguments = parser.parse_args()
    trainers = of_project()
    hardware = {key: value for key, value in describe(set_up(trainers.params.hardware)).items() if key != "python"}
    results: dict[str, Any] = read_json(RESULTS) if RESULTS.exists() else {}
    for name in parts if "all" in arguments.parts else arguments.parts:
        print(f"{name} ...", flush=True)
        found = parts[name](trainers, arguments.rounds)
        print(json.dumps(found, indent=2))
        machine = hardware["hardware"] + (", without bf16" if hardware["precision"] == "fp32" else "")
        results.setdefault(machine, {})[name] = {"machine": hardware, "found": found}
        write_json(RESULTS, results)


if __name__ == "__main__":
    run_stage(main)
