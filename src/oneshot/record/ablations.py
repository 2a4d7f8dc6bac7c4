"""Short runs that are judged on validation classes: what each change of the recipe costs or brings."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib.pyplot as plt

from oneshot.record.markdown import percent, table
from oneshot.record.statistics import luck_band
from oneshot.record.studies import NotRun, Record, Study
from oneshot.report.comparison import METHODS, headlines
from oneshot.report.plots import COLOURS, save

BASE, SEEDS = "ablation_none", "ablation_seed_"  # the short run that changes nothing, and it with other random numbers
# What the names of a table's lines begin with, and the trainings that it shows.
TABLES = {
    "recipe": (("ablation_",), METHODS),
    "reptile": ((BASE, "meta_"), ("meta",)),
    "longer": ((BASE, "twice_", "four_times_"), METHODS),
}


def changes(record: Record, kind: str) -> str:
    """What each short run of one of TABLES gives, by what it changes, beside the one that changes nothing."""
    beginnings, methods = TABLES[kind]
    rows = []
    for name, study in _short(record).items():
        if name.startswith(beginnings):
            figures = [headlines(study[method])[key] for method in methods for key in ("triplet", "one_shot")]
            changed = (f"`{key}: {_yaml(value)}`" for key, value in record.lines[name]["set"].items())
            images = f"{study['meta']['record']['images']:,}"
            rows.append([", ".join(changed) or "nothing", study["why"], *map(percent, figures), images])
    heading = [f"{method}, {words}" for method in methods for words in ("triplet", "one-shot")]
    return table(["changed", "why", *heading, "images"], rows)


def luck(record: Record) -> str:
    """A sentence on what luck does to a line of the tables."""
    classic, meta = (_unchanged(_short(record), method) for method in METHODS)
    if len(classic) < 2:
        return "How much of a difference is luck, other seeds have yet to show."
    return (
        f"Over {len(classic)} seeds the unchanged line has a mean of {percent(mean(classic))} (classic) and "
        f"{percent(mean(meta))} % (meta) of triplet accuracy. From these means, less than "
        f"{percent(luck_band([classic, meta]))} points may be luck."
    )


def draw(record: Record, path: Path) -> None:
    """A line for each change: how far triplet accuracy on validation classes moves, classic and meta."""
    short = _short(record)
    names = [name for name in short if not name.startswith(SEEDS) and name != BASE]
    band = 100 * luck_band([_unchanged(short, method) for method in METHODS])
    figure, axes = plt.subplots(figsize=(10, 0.36 * len(names) + 1.6))
    axes.axvspan(-band, band, color="#EEEEEE", label="luck")
    axes.axvline(0, color="grey", linewidth=1)
    for method, marker, shift in (("classic", "o", -0.12), ("meta", "D", 0.12)):
        base = mean(_unchanged(short, method))
        shown = [name for name in names if method == "meta" or not name.startswith("meta_")]  # those change Reptile
        moved = [100 * (headlines(short[name][method])["triplet"] - base) for name in shown]
        places = [names.index(name) + shift for name in shown]
        axes.plot(moved, places, marker, color=COLOURS[method], markersize=7, label=method)
    axes.set_yticks(range(len(names)), [short[name]["why"] for name in names])
    axes.tick_params(axis="y", labelsize=10)
    axes.invert_yaxis()
    axes.set_xlabel(
        "points of triplet accuracy on validation classes,\nagainst the mean of the runs that change nothing"
    )
    axes.legend(loc="best")
    save(figure, path)


def _short(record: Record) -> dict[str, Study]:
    """The lines that start from configs/ablation.yaml and have figures."""
    lines = record.lines
    short = {name: study for name, study in record.done.items() if lines[name].get("config") == "configs/ablation.yaml"}
    if BASE not in short:
        raise NotRun("make studies")
    return short


def _unchanged(short: dict[str, Study], method: str) -> list[float]:
    """Triplet accuracy of the short run that changes nothing, once for each seed."""
    return [headlines(study[method])["triplet"] for name, study in short.items() if name.startswith((BASE, SEEDS))]


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
