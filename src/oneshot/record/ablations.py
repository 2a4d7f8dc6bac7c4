"""Short runs that are judged on validation classes: what each change brings, and the searches for the default."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib.pyplot as plt

from oneshot.common.files import read_table
from oneshot.record.markdown import estimated, percent, table
from oneshot.record.statistics import luck_band
from oneshot.record.studies import NotRun, Record, Study
from oneshot.report.comparison import METHODS, headlines
from oneshot.report.plots import COLOURS, save

BASE, SEEDS = "ablation_none", "ablation_seed_"  # the short run that changes nothing, and it with other random numbers


def recipe(record: Record) -> str:
    """What each part of the recipe brings."""
    return _changes(record, [name for name in _short(record) if name.startswith("ablation_")])


def reptile(record: Record) -> str:
    """What makes Reptile work or break."""
    return _changes(record, [BASE, *(name for name in _short(record) if name.startswith("meta_"))], ["meta"])


def longer(record: Record) -> str:
    """What more images bring."""
    return _changes(record, [BASE, *(name for name in _short(record) if not name.startswith(("ablation_", "meta_")))])


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


def search(record: Record) -> str:
    """Short runs, in the order in which they were made: what differed from the default of their time."""
    rows = []
    for row in read_table(record.root / "studies/search.csv"):
        figures = [percent(row[key]) for key in ("triplet", "one_shot", "five_shot")]
        rows.append([row["method"], f"`{row['changed']}`", f"{row['images']:,}", *figures])
    return table(["training", "changed", "images", "triplet, %", "one-shot, %", "five-shot, %"], rows)


def criteria(record: Record) -> str:
    """What each criterion of the threshold loses against the best one: the table of scripts/search_threshold.py."""
    lines = read_table(record.root / "studies/thresholds.csv")
    keys = [key for key in lines[0] if key in ("balanced", "eer") or key.startswith("fpr_")]
    rows = [
        [row["method"], f"{row['images']:,}", f"{row['best_fpr_seen']:.3f}", *(percent(row[key]) for key in keys)]
        for row in lines
    ]
    heading = ["training", "images", "FPR on seen classes of the best threshold"]
    return table([*heading, *(key.replace("fpr_", "FPR ") for key in keys)], rows)


def adaptation(record: Record) -> str:
    """Gains by learning rate and steps, of each training and number of images: scripts/search_adaptation.py."""
    lines = read_table(record.root / "studies/adaptation.csv")
    places = list(dict.fromkeys((row["method"], row["shots"]) for row in lines))
    pairs = dict.fromkeys((row["learning_rate"], row["steps"]) for row in lines)
    rows = []
    for rate, steps in pairs:
        mine = {(r["method"], r["shots"]): r for r in lines if (r["learning_rate"], r["steps"]) == (rate, steps)}
        cells = [estimated(mine[place]["gain"], mine[place]["ci95"]) for place in places]
        rows.append([str(rate), str(steps), percent(mean(row["gain"] for row in mine.values())), *cells])
    heading = [f"{method}, {shots} image{'' if str(shots) == '1' else 's'}" for method, shots in places]
    return table(["learning rate", "steps", "mean", *heading], rows)


def _short(record: Record) -> dict[str, Study]:
    """The lines that start from configs/ablation.yaml and have figures."""
    lines = record.lines
    short = {name: study for name, study in record.done.items() if lines[name].get("config") == "configs/ablation.yaml"}
    if BASE not in short:
        raise NotRun("make studies")
    return short


def _unchanged(short: dict[str, Study], method: str) -> list[float]:
    """Triplet accuracy of the short run that changes nothing, once for each seed."""
    names = [name for name in short if name == BASE or name.startswith(SEEDS)]
    return [headlines(short[name][method])["triplet"] for name in names]


def _changes(record: Record, names: list[str], methods: Sequence[str] = METHODS) -> str:
    """What each short run gives, by what it changes, beside the one that changes nothing."""
    rows = []
    for name in names:
        study, changed = record.done[name], record.lines[name]["set"]
        figures = [headlines(study[method])[key] for method in methods for key in ("triplet", "one_shot")]
        shown = ", ".join(f"`{key}: {_yaml(value)}`" for key, value in changed.items()) or "nothing"
        rows.append([shown, study["why"], *map(percent, figures), f"{study['meta']['record']['images']:,}"])
    heading = [f"{method}, {words}" for method in methods for words in ("triplet", "one-shot")]
    return table(["changed", "why", *heading, "images"], rows)


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
