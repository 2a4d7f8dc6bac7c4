"""The page of costs is what benchmarks/results.json holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from made_up import add_study, details, make_project

from oneshot.common.files import read_json, write_json
from oneshot.record.pages import part
from oneshot.record.studies import Record


def spread(value: float) -> dict[str, float]:
    return {"median": value, "from": 0.9 * value, "to": 1.1 * value}


MACHINE = {"hardware": "A CPU", "device": "cpu", "threads": 2, "precision": "bf16", "torch": "2.0"}
BARE = {"images_per_second": spread(2000.0), "to_bare_loop": {"classic": spread(1.03), "meta": spread(1.04)}}
FOUND = {
    "against_bare_loop": BARE,
    "compiling": {"faster": spread(1.1), "pays_after_images": None},
    "repro_with_nothing_to_do": None,  # it was not up to date
}
GPU = {
    "images_per_second": {"classic, recorded": spread(60_000.0)},
    "copied_gb_per_second": 3_000,
    "least_bytes_of_an_image": 700_000,
}


def project(folder: Path) -> Path:
    """A made-up project with these parts measured on one machine, and another one on a second."""
    measured = {
        "A CPU": {name: {"machine": MACHINE, "found": found} for name, found in FOUND.items()},
        "A GPU": {"recorded_steps": {"machine": MACHINE | {"device": "cuda"}, "found": GPU}},
    }
    write_json(make_project(folder) / "benchmarks/results.json", measured)
    return folder


def test_ratios_stand_with_their_quartiles_and_the_machine(tmp_path: Path) -> None:
    record = Record(project(tmp_path))
    text = part("speed", record)
    assert (
        "| a step of meta training, against a bare loop on one resident batch | 1.04 (0.94 to 1.14) times |  |" in text
    )
    assert "| images a second in training | 2,000 (1,800 to 2,200) |  |" in text and "does not pay" in text
    share = "60,000 (54,000 to 66,000): 1.40 % of what memory at 3,000 GB/s allows"
    assert f"| images a second, classic, recorded |  | {share} |" in text
    assert text.startswith("| measure | A CPU | A GPU |")
    assert text.endswith("A CPU: cpu, threads: 2, bf16, torch 2.0. A GPU: cuda, threads: 2, bf16, torch 2.0.")
    assert "nothing to do" not in text
    assert part("memory", record) == "Not run yet: `make bench PARTS=peak_gib_of_stages` does."


def test_learning_is_shown_of_shorter_runs_of_the_present_default(tmp_path: Path) -> None:
    folder = project(tmp_path)
    budgets = {"stale": 300_000, "other_seed": 400_000, "shorter": 700_000, "longer": 9_000_000}
    lines: dict[str, Any] = {name: {"why": "", "set": {"image_budget": n}} for name, n in budgets.items()}
    lines["other_seed"]["set"]["seed"] = 2
    (folder / "studies/runs.yaml").write_text(json.dumps(lines))
    for name, images in budgets.items():
        study = details(0.87)
        add_study(folder, name, study | {"record": study["record"] | {"images": images}})
    stale = folder / "studies/stale.json"
    write_json(stale, read_json(stale) | {"default": "of another default"})
    shown = [line for line in part("speed", Record(folder)).splitlines() if line.startswith("| triplet accuracy")]
    assert shown == [
        "| triplet accuracy on unseen classes after 700,000 images, classic | 87.00 %, about 6 minutes |  |"
    ]
