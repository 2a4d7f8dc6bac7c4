"""Tables of what training, evaluation and the pipeline cost, from benchmarks/results.json."""

from __future__ import annotations

from typing import Any

from oneshot.common.files import read_json
from oneshot.record.markdown import percent, table
from oneshot.record.studies import NotRun, Record


def summary(record: Record) -> str:
    """The figures that matter, and the machine that they belong to."""
    parts = _parts(record)
    found: dict[str, Any] = {name: part["found"] for name, part in parts.items() if part["found"] is not None}
    rows = []
    if bare := found.get("against_bare_loop"):
        for name, ratio in bare["to_bare_loop"].items():
            words = f"a step of {name} training, against a bare loop on one resident batch"
            rows.append([words, f"{_spread(ratio)} times"])
        rows.append(["images a second in training", _spread(bare["images_per_second"])])
    if compiled := found.get("compiling"):
        images = compiled["pays_after_images"]
        pays = f"pays after {images:,} images" if images else "does not pay"
        rows.append(["`hardware.compile: true`, against eager", f"{_spread(compiled['faster'])} times as fast; {pays}"])
    for network, ways in found.get("against_reference_way", {}).items():
        cells = "; ".join(f"{way} {_spread(ratio)}" for way, ratio in ways.items())
        rows.append([f"images a second against the reference's way, {network}", f"{cells} times"])
    rows += _learning(record, bare["images_per_second"]["median"]) if bare else []
    if exact := found.get("exact_evaluation"):
        costs = (
            f"{spent['median']:.1f} s and {exact['peak_gib'][who]:.2f} GiB" for who, spent in exact["seconds"].items()
        )
        words = f"exact evaluation of {exact['embeddings']:,} embeddings ({exact['pairs']:,} pairs)"
        rows.append([f"{words}, beside scikit-learn's ROC curve of them alone", "; ".join(costs)])
    if idle := found.get("repro_with_nothing_to_do"):
        rows.append(["`dvc repro` with nothing to do", f"{_spread(idle)} s"])
    if held := found.get("peak_gib_of_stages"):
        stage = max(held, key=lambda name: float(held[name]))
        rows.append(["memory of the stage that needs most", f"{held[stage]:.2f} GiB ({stage})"])
    machines = (
        f"Measured on {m['hardware']} ({m['device']}, threads: {m['threads']}), {m['precision']}, torch {m['torch']}."
        for m in (part["machine"] for part in parts.values())
    )
    return "\n\n".join([table(["measure", "found"], rows), *dict.fromkeys(machines)])


def memory(record: Record) -> str:
    """The most that each stage held."""
    part = _parts(record).get("peak_gib_of_stages")
    if not part:
        raise NotRun("make bench PARTS=peak_gib_of_stages")
    return table(["stage", "GiB"], [[stage, f"{gib:.2f}"] for stage, gib in part["found"].items()])


def _parts(record: Record) -> dict[str, dict[str, Any]]:
    """What was measured, by part: the machine, and what was found on it (None: nothing)."""
    if not (file := record.root / "benchmarks/results.json").exists():
        raise NotRun("make bench")
    parts: dict[str, dict[str, Any]] = read_json(file, dict[str, dict[str, Any]])
    return parts


def _learning(record: Record, images_per_second: float) -> list[list[str]]:
    """Triplet accuracy after fewer images than the default's, beside the reference's.

    Of runs whose networks differ from the default's in nothing else.
    """
    reached = {}
    for run in record.done.values():
        changed = {name for name in run["parameters"] if not name.startswith(("hardware.", "adaptation."))}
        if changed == {"image_budget"} and run["parameters"]["image_budget"] < record.defaults["image_budget"]:
            reached[run["classic"]["record"]["images"]] = run["classic"]["unseen"]["triplet_accuracy"]
    rows = []
    for images, accuracy in sorted(reached.items()):
        after = f"{images:,} images, about {images / images_per_second / 60:.0f} minutes"
        rows.append([f"triplet accuracy on unseen classes after {after}, classic", f"{percent(accuracy)} %"])
    theirs = next(row["percent"] for row in record.published["reference"] if row["key"] == "seen.triplet_accuracy")
    return rows and [*rows, ["the reference's triplet accuracy, on classes that it had seen", f"{theirs:.2f} %"]]


def _spread(figures: dict[str, float]) -> str:
    digits = 0 if figures["median"] >= 100 else 2
    return f"{figures['median']:,.{digits}f} ({figures['from']:,.{digits}f} to {figures['to']:,.{digits}f})"
