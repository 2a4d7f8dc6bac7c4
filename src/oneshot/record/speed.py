"""Tables of what training, evaluation and the pipeline cost, from benchmarks/results.json."""

from __future__ import annotations

from typing import Any

from oneshot.common.files import read_json
from oneshot.record.markdown import percent, table
from oneshot.record.studies import NotRun, Record


def summary(record: Record) -> str:
    """The figures that matter, a column for each machine that was measured."""
    measured, columns = _measured(record), []
    for parts in measured.values():
        columns.append(_rows({name: part["found"] for name, part in parts.items() if part["found"]}))
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [[name, *(column.get(name, "") for column in columns)] for name in names]
    machines = (
        f"{name}: {m['device']}, threads: {m['threads']}, {m['precision']}, torch {m['torch']}."
        for name, parts in measured.items()
        for m in (part["machine"] for part in parts.values())
    )
    return "\n\n".join([table(["measure", *measured], rows), " ".join(dict.fromkeys(machines))])


def _rows(found: dict[str, Any]) -> dict[str, str]:
    """What was found on one machine, by the words for it."""
    rows = {}
    if bare := found.get("against_bare_loop"):
        for name, ratio in bare["to_bare_loop"].items():
            rows[f"a step of {name} training, against a plain PyTorch loop on one batch in memory"] = (
                f"{_spread(ratio)} times"
            )
        rows["images a second in training"] = _spread(bare["images_per_second"])
    for way, loads in found.get("threads_and_load", {}).items():
        for load, rate in loads.items():
            rows[f"images a second, {way}, {load}"] = _spread(rate)
    if recorded := found.get("recorded_steps"):
        for way, rate in recorded["images_per_second"].items():
            share = rate["median"] * recorded["least_bytes_of_an_image"] / recorded["copied_gb_per_second"] / 1e9
            bound = f"{percent(share)} % of what memory at {recorded['copied_gb_per_second']:,} GB/s allows"
            rows[f"images a second, {way}"] = f"{_spread(rate)}: {bound}"
    for network, ratio in found.get("against_reference_way", {}).items():
        rows[f"images a second against the reference's way, {network}"] = f"{_spread(ratio)} times"
    if exact := found.get("exact_evaluation"):
        costs = (
            f"{spent['median']:.1f} s and {exact['peak_gib'][who]:.2f} GiB" for who, spent in exact["seconds"].items()
        )
        words = f"exact evaluation of {exact['embeddings']:,} embeddings ({exact['pairs']:,} pairs)"
        rows[f"{words}, beside scikit-learn's ROC curve of them alone"] = "; ".join(costs)
    if idle := found.get("repro_with_nothing_to_do"):
        rows["`dvc repro` with nothing to do"] = f"{_spread(idle)} s"
    return rows


def stages(record: Record) -> str:
    """Time and memory of each stage on one machine; a training's time by its images a second."""
    needed = {"against_bare_loop", "stages"}
    done = [(name, parts) for name, parts in _measured(record).items() if needed <= set(parts)]
    if not done:
        raise NotRun("make bench PARTS='against_bare_loop stages'")
    machine, parts = done[-1]
    rate = parts["against_bare_loop"]["found"]["images_per_second"]["median"]
    rows = []
    for stage, cost in parts["stages"]["found"].items():
        seconds = record.defaults["image_budget"] / rate if stage.startswith("train_") else cost["seconds"]
        rows.append([stage, f"{seconds:,.0f}", f"{cost['gib']:.2f}"])
    return table([f"stage, {machine}", "seconds", "GiB"], rows)


def _measured(record: Record) -> dict[str, dict[str, Any]]:
    """What was measured, by machine and part: the machine as it was set, and what was found (None: nothing)."""
    if not (file := record.root / "benchmarks/results.json").exists():
        raise NotRun("make bench")
    return read_json(file, dict[str, dict[str, Any]])


def _spread(figures: dict[str, float]) -> str:
    digits = 0 if figures["median"] >= 100 else 2
    low, middle, high = (f"{figures[name]:,.{digits}f}" for name in ("from", "median", "to"))
    return middle if low == high else f"{middle} ({low} to {high})"
