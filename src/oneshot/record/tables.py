"""Tables of the project's own run and of its seeds, in %."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from oneshot.record.markdown import estimated, percent, table
from oneshot.record.statistics import bootstrap, interval
from oneshot.record.studies import Record, Study
from oneshot.report.comparison import HEADLINES, METHODS, flat, headlines, held_out, meaning

GAP = "meta - classic"
WORDS = {key: meaning(key) for key in HEADLINES if key != "threshold"}  # of the headlines that are in %


def seeds(record: Record) -> str:
    """Means over seeds of the headlines, with intervals over seeds and, of two of them, over classes.

    Last, one run of the triplet loss alone.
    """
    runs = record.seeds
    by_class = {"triplet": "triplet_accuracy", "binary": "binary_accuracy"}
    found = {method: [headlines(run[method]) for run in runs] for method in METHODS}
    rows = []
    for key, words in WORDS.items():
        if not all(key in figures for method in METHODS for figures in found[method]):
            continue
        row = [words, f"`{key}`", *paired(runs, key, " t")]
        for place, method in enumerate(METHODS, 2):
            if column := by_class.get(key):
                low, high = bootstrap([_column(run, f"{method}_{column}") for run in runs])
                row[place] += f" (classes {100 * low:.1f} to {100 * high:.1f})"
        rows.append(row)
    if alone := record.done.get("pure_triplet"):
        classic, meta = (headlines(alone[method])["triplet"] for method in METHODS)
        words = f"*beside it, the triplet loss alone, one seed:* {WORDS['triplet']}"
        rows.append([words, "`triplet`", percent(classic), percent(meta), percent(meta - classic)])
    return table([f"measure, {len(runs)} seed{'s' if len(runs) > 1 else ''}", "key", *METHODS, GAP], rows)


def paired(runs: list[Study], key: str, label: str = "") -> list[str]:
    """Means over runs of a headline with Student's 95 % intervals: classic, meta, and their difference by run."""
    classic, meta = (np.array([headlines(run[method])[key] for run in runs]) for method in METHODS)
    return [estimated(*interval(values), label) for values in (classic, meta, meta - classic)]


def reference(record: Record) -> str:
    """The reference's figures beside those of the same protocol here, and means over seeds."""
    runs, rows = record.seeds, []
    for theirs in record.published["reference"]:
        method, path = theirs["training"], theirs["key"]
        figures = [flat(run[method]) for run in runs]
        if any(path not in of_run for of_run in figures):
            continue
        fixed = figures[0][f"{path}_fixed"] if "binary" in path else None
        over_seeds = estimated(*interval([of_run[path] for of_run in figures]), " t")
        cells = [f"{theirs['percent']:.2f}", percent(figures[0][path]), over_seeds, percent(fixed), f"`{path}`"]
        rows.append([method, theirs["words"], *cells])
    here = ["here, calibrated", f"mean of {len(runs)}, calibrated", "here, threshold 0.7"]
    return table(["training", "in %", "reference", *here, "key in `metrics/details/`"], rows)


def single(record: Record) -> str:
    """The headlines of the project's own run, with 95 % intervals over draws of supports where there are any."""
    found = {method: headlines(record.default[method]) for method in METHODS}
    rows = []
    for key in found["classic"]:
        group = held_out(record.default["classic"])
        path, words = HEADLINES[key][0], meaning(key, group)
        values = [found[method][key] for method in METHODS]
        if key == "threshold":
            rows.append([words, f"`{key}`", *(f"{value:.3f}" for value in values), ""])
            continue
        home = path.format(held_out=group).removesuffix(".accuracy")
        widths = [flat(record.default[method]).get(f"{home}.ci95") for method in METHODS]
        cells = [estimated(*pair) for pair in zip(values, widths, strict=True)]
        rows.append([words, f"`{key}`", *cells, f"{100 * (values[1] - values[0]):+.2f}"])
    return table(["in %", "key in `metrics/*.json`", *METHODS, GAP], rows)


def adapted(record: Record) -> str:
    """Triplet and binary accuracy as trained, and after adaptation to one class on K of its images."""
    group = held_out(record.default["classic"])
    rows = []
    for words, home in {"none: as trained": (), **{name: (f"adapted_{name}",) for name in _shots(record)}}.items():
        cells = []
        for column in ("triplet_accuracy", "binary_accuracy"):
            for method in METHODS:
                cells.append(percent(flat(record.default[method])[".".join((*home, group, column))]))
        rows.append([words, *cells])
    heading = [f"{kind}, {method}" for kind in ("triplet", "binary") for method in METHODS]
    return table(["images adapted on", *heading], rows)


def episodes(record: Record) -> str:
    """N-way K-shot accuracy as trained, and after adaptation to the whole support set."""
    figures = {method: flat(record.default[method]) for method in METHODS}
    rows = []
    for shots in _shots(record):
        home = f"adapted_{shots}.{held_out(record.default['classic'])}"
        for key in (key for key in figures["classic"] if re.fullmatch(rf"{home}\.\w+_shot\.accuracy", key)):
            for words, one in (("as trained", key.partition(".")[2]), ("adapted", key)):
                width = one.removesuffix("accuracy") + "ci95"
                cells = [estimated(figures[method][one], figures[method][width]) for method in METHODS]
                rows.append([shots, words, *cells, f"`{one}`"])
    return table(["support images of a class", "in %", *METHODS, "key in `metrics/details/`"], rows)


def setting(record: Record) -> str:
    """Network, images, classes, hardware and versions behind the project's own run."""
    params, records = record.defaults, {method: record.default[method]["record"] for method in METHODS}
    widths, blocks = params["network.widths"], params["network.blocks"]
    network = f"ResNet-{2 + 2 * len(widths) * blocks} of {widths[-1]} channels, {records['meta']['weights']:,} weights"
    classes = ", ".join(str(row["class"]).replace("_", " ") for row in record.default["classes"])
    lines = [
        f"- Data set {params['dataset']}, seed {params['seed']}; {network}.",
        f"- Held-out classes: {classes}.",
    ]
    for method, about in records.items():
        threads = f", threads: {about['threads']}" if about["device"] == "cpu" else ""
        machine = f"{about['hardware']} ({about['device']}{threads}), {about['precision']}"
        versions = f"{about['system']}, Python {about['python']}, torch {about['torch']}"
        lines.append(f"- {method}: {about['images']:,} images through the network; {machine}; {versions}.")
    return "\n".join(lines)


def gains(record: Record) -> str:
    """Gains of adapted over frozen networks, and of meta over classic, both adapted; intervals over classes."""
    rows = []
    for shots in _shots(record):
        home = f"adapted_{shots}"
        triplet = {method: _over_seeds(record, f"{method}_{home}_triplet_accuracy") for method in METHODS}
        differences = [triplet[method] - _over_seeds(record, f"{method}_triplet_accuracy") for method in METHODS]
        cells = [estimated(*interval(values)) for values in (*differences, triplet["meta"] - triplet["classic"])]
        for method in METHODS:
            column = f"{method}_{home}_prototype_accuracy"
            means = [_over_seeds(record, name).mean() for name in (f"{column}_frozen", column)]
            cells.append(", ".join(percent(value) for value in means))
        rows.append([shots, *cells])
    heading = ["images", "classic, over frozen", "meta, over frozen", "meta over classic, both adapted"]
    return table([*heading, *(f"{method}, prototype: frozen, adapted" for method in METHODS)], rows)


def thresholds(record: Record) -> str:
    """The reference's second hypothesis: one fixed, calibrated, best threshold, or one for each class."""
    kinds = {
        "binary_accuracy_fixed": "0.7, as the reference",
        "binary_accuracy": "calibrated on seen classes",
        "binary_accuracy_best": "the best single one, known in hindsight",
        "binary_accuracy_own_thresholds": "the best one for each class, known in hindsight",
    }
    figures = [record.default[method][held_out(record.default["classic"])] for method in METHODS]
    rows = [[words, *(percent(of_method[key]) for of_method in figures)] for key, words in kinds.items()]
    return table(["threshold", *METHODS], rows)


def near_duplicates(record: Record) -> str:
    """How much do test images that training all but knows flatter the figures?"""
    rows = []
    for group in ("seen", held_out(record.default["classic"])):
        for key in ("triplet_accuracy", "binary_accuracy"):
            homes = [record.default[m].get(home, {}) for m in METHODS for home in (group, f"{group}_distinct")]
            rows.append([f"{key.replace('_', ' ')}, {group} classes", *(percent(home.get(key)) for home in homes)])
    count = record.default["classic"]["near_duplicates"]
    heading = [f"{method}, {kind}" for method in METHODS for kind in ("all test images", f"without these {count}")]
    return table(["in %", *heading], rows)


def _shots(record: Record) -> list[str]:
    """Numbers of images that networks were adapted on, such as "5" and "all"."""
    found = (re.fullmatch(r"adapted_(\d+|all)", key) for key in record.default["classic"])
    return [match[1] for match in found if match]


def _column(run: Study, column: str) -> list[Any]:
    return [row[column] for row in run["classes"]]


def _over_seeds(record: Record, column: str) -> np.ndarray:
    """A column of the table of classes (classes,): means over seeds."""
    return np.array([_column(run, column) for run in record.seeds], dtype=np.float64).mean(axis=0)
