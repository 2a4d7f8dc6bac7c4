"""Short runs that are judged on validation classes: what each change of the recipe costs or brings."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt

from oneshot.record.markdown import percent, table
from oneshot.record.statistics import luck_band
from oneshot.record.studies import NotRun, Record, Study
from oneshot.report.comparison import METHODS, headlines
from oneshot.report.plots import looks, save

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
            changed = [f"`{change}`" for change in _changed(record, name)]
            rows.append([", ".join(changed) or "nothing", record.lines[name]["why"], *map(percent, figures)])
    heading = [f"{method}, {words}" for method in methods for words in ("triplet", "one-shot")]
    return table(["changed", "why", *heading], rows)


def luck(record: Record) -> str:
    """A sentence on what luck does to a line of the tables."""
    short = _short(record)
    classic, meta = (_unchanged(short, method) for method in METHODS)
    if len(classic) < 2:
        return "How much of a difference is luck, other seeds have yet to show."
    return (
        f"Over {len(classic)} seeds of {short[BASE]['meta']['record']['images']:,} images the unchanged line has a "
        f"mean of {percent(mean(classic))} (classic) and {percent(mean(meta))} % (meta) of triplet accuracy. "
        f"From these means, less than {percent(luck_band([classic, meta]))} points may be luck."
    )


def draw(record: Record, path: Path) -> None:
    """How far each change moves triplet accuracy on validation classes; in each table the best for meta at the top."""
    short = _short(record)
    unchanged = {method: _unchanged(short, method) for method in METHODS}
    band = 100 * luck_band(list(unchanged.values()))
    figure, axes = plt.subplots()
    axes.axvspan(-band, band, color="#E5E5E5", label="luck")
    axes.axvline(0, color="grey", linewidth=1)
    for method in METHODS:
        axes.plot([], [], **_marks(method))
    ticks, end = {}, 0.0  # in inches from the top: a label may take several lines
    for title, (beginnings, methods) in TABLES.items():
        ticks[end + 0.3] = title
        end += 0.45
        names = [name for name in short if name.startswith(beginnings) and not name.startswith((BASE, SEEDS))]
        for name in sorted(names, key=lambda name: -headlines(short[name]["meta"])["triplet"]):
            pairs = [pair.replace(" ", "\u00a0") for pair in _changed(record, name)]  # which no line breaks
            changed = fill(", ".join(pairs), 66)
            height = 0.13 + 0.16 * (1 + changed.count("\n"))
            ticks[end + height / 2] = changed
            for method in methods:
                moved = 100 * (headlines(short[name][method])["triplet"] - mean(unchanged[method]))
                axes.plot(moved, end + height / 2, **_marks(method) | {"label": None})
            end += height
    axes.set_yticks(list(ticks), ticks.values(), fontsize=11)
    for label in axes.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() in TABLES else "normal")
    axes.set_ylim(end + 0.1, 0)
    axes.set_xlabel("points of triplet accuracy on validation classes,\nagainst the runs that change nothing")
    axes.legend(loc="lower left")
    figure.set_size_inches(11, end + 0.9)
    save(figure, path)


def _marks(method: str) -> dict[str, Any]:
    return looks(method) | {"linestyle": "none", "markersize": {"classic": 10, "meta": 7}[method]}  # may overlap


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


def _changed(record: Record, name: str) -> list[str]:
    """What a line sets, as YAML."""
    values = record.lines[name]["set"].items()
    return [f"{key}: {str(value).lower() if isinstance(value, bool) else value}" for key, value in values]
