"""Tables of the project's own run and of its seeds, in %."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from oneshot.record.markdown import estimated, percent, table
from oneshot.record.statistics import interval
from oneshot.record.studies import Record, Study
from oneshot.report.comparison import HEADLINES, METHODS, flat, headlines, meaning

GAP = "meta - classic"
WORDS = {key: meaning(key) for key in HEADLINES if key != "threshold"}  # of the headlines that are in %


def seeds(record: Record) -> str:
    """Means over seeds of the headlines, with Student's intervals over seeds and, of two of them, over classes."""
    runs = record.seeds
    measured = set.intersection(*(set(headlines(run[method])) for run in runs for method in METHODS))
    rows = []
    for key in (key for key in WORDS if key in measured):
        row = [WORDS[key], *paired(runs, key)]
        for place, method in enumerate(METHODS if key in ("triplet", "binary") else (), 1):
            _, half = interval(_over_seeds(record, f"{method}_{key}_accuracy"))
            row[place] += f" (classes: ± {percent(half)})"
        rows.append(row)
    return table([f"in %, {len(runs)} seed{'s' * (len(runs) > 1)}", *METHODS, GAP], rows)


def paired(runs: list[Study], key: str) -> list[str]:
    """Means over runs of a headline with Student's 95 % intervals: classic, meta, and their difference by run."""
    classic, meta = over_runs(runs, key)
    return [estimated(*interval(values)) for values in (classic, meta, meta - classic)]


def over_runs(runs: list[Study], key: str) -> np.ndarray:
    """A headline of each run, (2, runs): by classic training, and by meta."""
    return np.array([[headlines(run[method])[key] for run in runs] for method in METHODS])


def reference(record: Record) -> str:
    """The reference's figures beside those of the same protocol here, and means over seeds."""
    rows = []
    for theirs in record.published["reference"]:
        method, path = theirs["training"], theirs["key"]
        figures = [flat(run[method]) for run in record.seeds]
        if all(path in of_run for of_run in figures):
            over_seeds = estimated(*interval([of_run[path] for of_run in figures]))
            here = [percent(figures[0][path]), over_seeds, percent(figures[0].get(f"{path}_fixed"))]
            rows.append([method, theirs["words"], f"{theirs['percent']:.2f}", *here, f"`{path}`"])
    here = ["here, calibrated", f"mean of {len(record.seeds)}, calibrated", "here, threshold 0.7"]
    return table(["training", "in %", "reference", *here, "key in `metrics/details/`"], rows)


def single(record: Record) -> str:
    """The headlines of the project's own run, with 95 % intervals over draws of supports where there are any."""
    rows = []
    for key, (path, _) in HEADLINES.items():
        path = path.format(held_out=record.held_out)
        if path in record.figures["classic"]:
            classic, meta = (figures[path] for figures in record.figures.values())
            cells = [*_cells(record, path), f"{100 * (meta - classic):+.2f}"]
            if key == "threshold":
                cells = [f"{classic:.3f}", f"{meta:.3f}", ""]
            rows.append([meaning(key, record.held_out), f"`{key}`", *cells])
    return table(["in %", "key in `metrics/*.json`", *METHODS, GAP], rows)


def adapted(record: Record) -> str:
    """Triplet and binary accuracy as trained, and after adaptation to one class on K of its images."""
    homes = {"none: as trained": ""} | {shots: f"adapted_{shots}." for shots in _shots(record)}
    kinds = ("triplet", "binary")
    rows = [
        [words, *_cells(record, *(f"{home}{record.held_out}.{kind}_accuracy" for kind in kinds))]
        for words, home in homes.items()
    ]
    return table(["images adapted on", *(f"{kind}, {method}" for kind in kinds for method in METHODS)], rows)


def episodes(record: Record) -> str:
    """N-way K-shot accuracy as trained, and after adaptation to the whole support set."""
    rows = []
    for key in record.figures["classic"]:
        if found := re.fullmatch(rf"adapted_(\w+)\.({record.held_out}\.\w+_shot\.accuracy)", key):
            for words, path in (("as trained", found[2]), ("adapted", key)):
                rows.append([found[1], words, *_cells(record, path)])
    return table(["support images of a class", "in %", *METHODS], rows)


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
    rows = [[words, *_cells(record, f"{record.held_out}.{key}")] for key, words in kinds.items()]
    return table(["threshold", *METHODS], rows)


def near_duplicates(record: Record) -> str:
    """How much do test images that training all but knows flatter the figures?"""
    every, distinct = (
        " and ".join(_cells(record, f"{record.held_out}{kind}.triplet_accuracy")) for kind in ("", "_distinct")
    )
    return (
        f"{record.default['classic']['near_duplicates']} test images have a near-duplicate among the training images. "
        f"Without them, triplet accuracy of {record.held_out} classes is {distinct} %, with them {every} % "
        f"({' and '.join(METHODS)})."
    )


def _cells(record: Record, *paths: str) -> list[str]:
    """Figures of both trainings, path after path, with 95 % intervals where there are any; empty: not measured."""
    return [
        estimated(figures.get(path), figures.get(path.removesuffix("accuracy") + "ci95"))
        for path in paths
        for figures in record.figures.values()
    ]


def _shots(record: Record) -> list[str]:
    """Numbers of images that networks were adapted on, such as "5" and "all"."""
    names = (name.removeprefix("adapted_") for name in record.default["classic"] if name.startswith("adapted_"))
    return [name for name in names if name != "seen_all"]


def _column(run: Study, column: str) -> list[Any]:
    return [row[column] for row in run["classes"]]


def _over_seeds(record: Record, column: str) -> np.ndarray:
    """A column of the table of classes (classes,): means over seeds."""
    return np.array([_column(run, column) for run in record.seeds], dtype=np.float64).mean(axis=0)
