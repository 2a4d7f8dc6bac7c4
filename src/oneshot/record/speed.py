"""Tables of what training, evaluation and the pipeline cost, from benchmarks/results.json."""

from __future__ import annotations

from typing import Any

from oneshot.common.files import read_json
from oneshot.record.markdown import percent, table
from oneshot.record.studies import NotRun, Record, Study
from oneshot.report.comparison import METHODS

WORDS = {
    "batch_size": "images in a batch",
    "blocks_per_stage": "residual blocks in each of the three stages",
    "inner_steps": "inner steps on a task",
    "task_classes": "classes in a task",
    "data_set_size": "training images",
}
Rows = list[list[str]]


def summary(record: Record) -> str:
    """The figures that matter, and the machine that they belong to."""
    parts = _parts(record)
    found = {name: part["found"] for name, part in parts.items() if part["found"] is not None}
    rows = _steps(found) + _learning(record, found) + _rest(found)
    machines = {tuple(sorted(part["machine"].items())): part["machine"] for part in parts.values()}
    lines = [
        f"Measured on {m['hardware']} ({m['device']}, threads: {m['threads']}), {m['precision']}, torch {m['torch']}."
        for m in machines.values()
    ]
    return "\n\n".join([table(["measure", "found"], rows), *lines])


def equal_learning(record: Record) -> str:
    """The same objective learnt in the reference's way and in this project's."""
    found = _found(record, "equal_learning")
    rows = [
        [way, f"{row['seconds']:.0f}", percent(row["heldout_triplet_accuracy"])]
        for way, row in found.items()
        if isinstance(row, dict)
    ]
    return table(["way", f"seconds for {found['steps']} steps", "triplet accuracy, held-out images, %"], rows)


def scaling(record: Record) -> str:
    """Cost of an image as one size changes."""
    rows = []
    for name, of_name in _found(record, "scaling").items():
        rows += [[WORDS[name], f"{row['value']:,}", _spread(row["microseconds_per_image"])] for row in of_name]
    return table(["what changes", "size", "microseconds an image"], rows)


def memory(record: Record) -> str:
    """The most that each stage held."""
    found = _found(record, "peak_gib_of_stages")
    return table(["stage", "GiB"], [[stage, f"{gib:.2f}"] for stage, gib in found.items()])


def _parts(record: Record) -> dict[str, dict[str, Any]]:
    """What was measured, by part: the machine, and what was found on it (None: nothing)."""
    if not (file := record.root / "benchmarks/results.json").exists():
        raise NotRun("make bench")
    parts: dict[str, dict[str, Any]] = read_json(file)
    return parts


def _found(record: Record, name: str) -> dict[str, Any]:
    if not (part := _parts(record).get(name)) or part["found"] is None:
        raise NotRun(f"make bench PARTS={name}")
    return dict(part["found"])


def _steps(found: dict[str, Any]) -> Rows:
    """A training step against a bare loop, compiled, and in the reference's way."""
    rows = []
    if bare := found.get("against_bare_loop"):
        for name, ratio in bare["to_bare_loop"].items():
            words = f"a step of {name} training, against a bare loop on one resident batch"
            rows.append([words, f"{_spread(ratio)} times"])
        rows.append(["images a second in training", _spread(bare["images_per_second"]["classic"])])
    if compiled := found.get("compiling"):
        images = compiled["pays_after_images"]
        pays = f"pays after {images:,} images" if images else "does not pay"
        rows.append(["`hardware.compile: true`, against eager", f"{_spread(compiled['faster'])} times as fast; {pays}"])
    for network, ways in found.get("against_reference_way", {}).items():
        cells = "; ".join(f"{way} {_spread(ratio)}" for way, ratio in ways["faster_than_reference"].items())
        rows.append([f"images a second against the reference's way, {network}", f"{cells} times"])
    return rows


def _learning(record: Record, found: dict[str, Any]) -> Rows:
    """Triplet accuracy on unseen classes after fewer images than the default's, beside the reference's on seen ones."""
    speed = found.get("against_bare_loop", {}).get("images_per_second", {}).get("classic", {}).get("median")
    theirs = next(row["percent"] for row in record.published["reference"] if row["key"] == "seen.triplet_accuracy")
    rows = []
    shorter = [run for run in record.done.values() if _is_shorter(record, run)]
    for run in sorted(shorter, key=_images):
        minutes = f", about {_images(run) / speed / 60:.0f} minutes" if speed else ""
        words = f"triplet accuracy on unseen classes after {_images(run):,} images{minutes}, classic"
        rows.append([words, f"{percent(run['classic']['unseen']['triplet_accuracy'])} %"])
    if (alone := record.done.get("random_triplets")) is not None:
        reached = {method: alone[method]["unseen"]["triplet_accuracy"] for method in METHODS}
        cell = ", ".join(f"{method} {percent(accuracy)} %" for method, accuracy in reached.items())
        if 100 * max(reached.values()) < theirs:
            cell += f": below the reference's {theirs:.2f} %"
        rows.append([f"the same of random triplets alone, by Muon too, after {_images(alone):,} images", cell])
    if rows:
        rows.append(["the reference's triplet accuracy, on classes that it had seen", f"{theirs:.2f} %"])
    return rows


def _images(run: Study) -> int:
    return int(run["classic"]["record"]["images"])


def _is_shorter(record: Record, run: Study) -> bool:
    """Whether a run's networks differ from the default's only in that they saw fewer images."""
    changed = {name for name in run["parameters"] if not name.startswith(("hardware.", "adaptation."))}
    return changed == {"image_budget"} and run["parameters"]["image_budget"] < record.defaults["image_budget"]


def _rest(found: dict[str, Any]) -> Rows:
    """Evaluation, DVC and memory."""
    rows = []
    if exact := found.get("exact_evaluation"):
        ours, theirs = (
            f"{exact['seconds'][who]['median']:.1f} s and {exact['peak_gib'][who]:.2f} GiB"
            for who in ("ours", "scikit-learn")
        )
        words = f"exact evaluation of {exact['embeddings']:,} embeddings ({exact['pairs']:,} pairs)"
        rows.append([f"{words}, beside scikit-learn's ROC curve of them alone", f"{ours}; {theirs}"])
    if idle := found.get("repro_with_nothing_to_do"):
        rows.append(["`dvc repro` with nothing to do", f"{_spread(idle)} s"])
    if held := found.get("peak_gib_of_stages"):
        stage = max(held, key=lambda name: held[name])
        rows.append(["memory of the stage that needs most", f"{held[stage]:.2f} GiB ({stage})"])
    return rows


def _spread(figures: dict[str, float]) -> str:
    digits = 0 if figures["median"] >= 100 else 2
    return f"{figures['median']:,.{digits}f} ({figures['from']:,.{digits}f} to {figures['to']:,.{digits}f})"
