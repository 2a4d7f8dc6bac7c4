"""Write docs/speed.md, what training, evaluation and the pipeline cost, from benchmarks/results.json.

python scripts/write_speed.py      (after benchmarks/bench.py, as `make bench` does)
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import yaml
from markdown import markdown_table
from run_studies import RUNNING, load_line, load_studies

from oneshot.comparison import METHODS
from oneshot.files import read_json, write_text
from oneshot.stage import run_stage

NOT_RUN = "Not measured yet: `make bench` does."
REFERENCE_TRIPLET = 88.34  # %, of seen classes, that the reference reports for its classic training
WORDS = {
    "batch_size": "images in a batch",
    "blocks_per_stage": "residual blocks in each of the three stages",
    "inner_steps": "inner steps on a task",
    "task_classes": "classes in a task",
    "data_set_size": "training images",
}
Results = dict[str, dict[str, Any]]


def main() -> None:
    write_text(ROOT / "docs/speed.md", page(ROOT))
    print("docs/speed.md: written")


def load(root: Path) -> Results:
    """What was measured, by part; none where nothing was."""
    path = root / "benchmarks/results.json"
    return read_json(path) if path.exists() else {}


def page(root: Path) -> str:
    """The whole page, from the project in `root`."""
    results = load(root)
    parts = [
        "# What it costs",
        "Written by `python scripts/write_speed.py` from `benchmarks/results.json`, which `make bench` measures; do "
        "not edit. Where a figure has a spread, contenders took turns: a ratio is the median over rounds of the ratio "
        "within a round, with its quartiles. Ratios carry over to other machines, absolute figures belong to the one "
        "that is named.",
        summary(root),
    ]
    if "equal_learning" in results:
        found = results["equal_learning"]["found"]
        parts += [
            "## The same objective learnt in both ways",
            f"{found['steps']} steps of 128 random triplets on the same tasks, Adam at 0.001; one run each.",
            markdown_table(
                ["way", "seconds", "triplet accuracy on held-out images of seen classes, %"],
                [
                    [way, f"{row['seconds']:.0f}", f"{100 * row['heldout_triplet_accuracy']:.1f}"]
                    for way, row in found.items()
                    if isinstance(row, dict)
                ],
            ),
        ]
    if "scaling" in results:
        parts += [
            "## How cost grows",
            "Microseconds an image through training (median and quartiles), as one size changes and all else stays. "
            "Batches of all sizes have 8 classes; all their triplets are compared, which are as the cube of the size.",
        ]
        for name, rows in results["scaling"]["found"].items():
            parts.append(
                markdown_table(
                    [WORDS[name], "microseconds an image"],
                    [[f"{row['value']:,}", _spread(row["microseconds_per_image"])] for row in rows],
                )
            )
    if "peak_gib_of_stages" in results:
        parts += [
            "## Memory",
            "The most that each stage held, on CIFAR-100:",
            markdown_table(
                ["stage", "GiB"],
                [[stage, f"{gib:.2f}"] for stage, gib in results["peak_gib_of_stages"]["found"].items()],
            ),
        ]
    return "\n\n".join(parts) + "\n"


def summary(root: Path) -> str:
    """The figures that matter, as a table, and the machine they belong to."""
    results = load(root)
    rows = []
    found = {name: part["found"] for name, part in results.items() if part["found"] is not None}
    if bare := found.get("against_bare_loop"):
        rows += [
            [f"a step of {name} training, against a bare loop on one resident batch", _spread(ratio) + " times"]
            for name, ratio in bare["to_bare_loop"].items()
        ]
        rows.append(["images a second in training", _spread(bare["images_per_second"]["classic"])])
    if compiled := found.get("compiling"):
        pays = compiled["pays_after_images"]
        rows.append(
            [
                "`compile: true`, against eager",
                f"{_spread(compiled['faster'])} times as fast; "
                + (f"pays after {pays:,} images" if pays else "does not pay"),
            ]
        )
    for network, ways in found.get("against_reference_way", {}).items():
        cells = [f"{way} {_spread(ratio)}" for way, ratio in ways["faster_than_reference"].items()]
        rows.append([f"images a second against the reference's way, {network}", f"{'; '.join(cells)} times"])
    rows += learning_rows(root, found)
    if exact := found.get("exact_evaluation"):
        rows.append(
            [
                f"exact evaluation of {exact['embeddings']:,} embeddings ({exact['pairs']:,} pairs), beside "
                "scikit-learn's ROC curve of them alone",
                f"{exact['seconds']['ours']['median']:.1f} s and {exact['peak_gib']['ours']:.2f} GiB; "
                f"{exact['seconds']['scikit-learn']['median']:.1f} s and {exact['peak_gib']['scikit-learn']:.2f} GiB",
            ]
        )
    if idle := found.get("repro_with_nothing_to_do"):
        rows.append(["`dvc repro` with nothing to do", f"{_spread(idle)} s"])
    if memory := found.get("peak_gib_of_stages"):
        stage = max(memory, key=lambda name: memory[name])
        rows.append(["memory of the stage that needs most", f"{memory[stage]:.2f} GiB ({stage})"])
    if not rows:
        return NOT_RUN
    machines = {tuple(sorted(part["machine"].items())): part["machine"] for part in results.values()}
    lines = [
        f"Measured on {m['hardware']} ({m['device']}, threads: {m['threads']}), {m['precision']}, torch {m['torch']}."
        for m in machines.values()
    ]
    return "\n\n".join([markdown_table(["measure", "found"], rows), *lines])


def learning_rows(root: Path, found: dict[str, Any]) -> list[list[str]]:
    """Triplet accuracy on unseen classes after fewer images than the default's, beside the reference's on seen ones."""
    speed = found.get("against_bare_loop", {}).get("images_per_second", {}).get("classic", {}).get("median")
    studies = load_studies()
    runs = {name: run for name, study in studies.items() if (run := load_line(name, study, root)) is not None}
    rows = []
    shorter = [run for run in runs.values() if _is_shorter(run, root)]
    for run in sorted(shorter, key=lambda run: run["record_classic"]["images"]):
        images, accuracy = run["record_classic"]["images"], run["classic"]["unseen"]["triplet_accuracy"]
        minutes = f", about {images / speed / 60:.0f} minutes" if speed else ""
        rows.append(
            [f"triplet accuracy on unseen classes after {images:,} images{minutes}, classic", f"{100 * accuracy:.2f} %"]
        )
    if run := runs.get("random_triplets"):
        reached = {m: 100 * run[m]["unseen"]["triplet_accuracy"] for m in METHODS}
        cell = ", ".join(f"{m} {accuracy:.2f} %" for m, accuracy in reached.items())
        cell += (
            f": below the reference's {REFERENCE_TRIPLET:.2f} %" if max(reached.values()) < REFERENCE_TRIPLET else ""
        )
        images = run["record_classic"]["images"]
        rows.append([f"the same of random triplets alone, by Muon too, after {images:,} images", cell])
    if rows:
        rows.append(["the reference's triplet accuracy, on classes that it had seen", f"{REFERENCE_TRIPLET:.2f} %"])
    return rows


def _is_shorter(run: dict[str, Any], root: Path) -> bool:
    """Whether a run's networks differ from the default's only in that they saw fewer images."""
    changed = {name for name in run["parameters"] if name not in RUNNING and not name.startswith("adapt_")}
    if changed != {"image_budget"}:
        return False
    default = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    return bool(run["parameters"]["image_budget"] < default["image_budget"])


def _spread(figures: dict[str, float]) -> str:
    digits = 0 if figures["median"] >= 100 else 2
    return f"{figures['median']:,.{digits}f} ({figures['from']:,.{digits}f} to {figures['to']:,.{digits}f})"


if __name__ == "__main__":
    run_stage(main)
