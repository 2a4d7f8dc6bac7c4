"""Draw what explains the method, docs/{pipeline,reptile,triplet}.svg, and take examples/ from the data.

    python scripts/draw_figures.py      (after `dvc repro`, with `dataset: cifar100`: the triplet shows its pictures)

The same bytes each time. examples/known/ has the first training image of each class that training never saw,
examples/new/ its first test image: none is chosen.
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from _project import ROOT
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Circle, FancyArrowPatch, FancyBboxPatch
from PIL import Image

from oneshot.common.errors import UserError
from oneshot.common.files import write_bytes
from oneshot.common.stage import run_stage
from oneshot.data.dataset import load_dataset
from oneshot.data.split import load_split
from oneshot.report.plots import COLOURS, save  # importing it also makes SVGs reproducible

INK, GREY, PAPER = "#222222", "#666666", "#F2F2F2"
TINTS = {"classic": "#E3F0F9", "meta": "#FBE9DC"}
NAME, TEXT, FILE = 16, 13.5, 12.5  # font sizes in points: readable where the picture is shown at half its size

# Of each role: a row of CIFAR-100's training images, its class, colour, direction, and where its words stand.
TRIPLET = {
    "anchor": (124, "tiger", INK, 56.0, (0.1, 0.2), "left"),
    "positive": (910, "tiger", "#009E73", 92.0, (0.1, 0.25), "center"),
    "negative": (474, "lion", "#AA3377", 24.0, (0.12, 0.08), "left"),
}
Point = tuple[float, float]


def main() -> None:
    pipeline(ROOT / "docs/pipeline.svg")
    reptile(ROOT / "docs/reptile.svg")
    triplet(ROOT / "data/dataset", ROOT / "docs/triplet.svg")
    examples(ROOT / "data", ROOT / "examples")


def examples(data: Path, folder: Path) -> None:
    """Of each class that training never saw, a picture to know it by and another to recognise."""
    dataset, split = load_dataset(data / "dataset"), load_split(data / "split.json")
    shutil.rmtree(folder, ignore_errors=True)
    for label in split.unseen:
        known = dataset.train_images[split.support[label][0]]
        new = dataset.test_images[np.flatnonzero(dataset.test_labels == label)[0]]
        for name, image in (("known", known), ("new", new)):
            buffer = io.BytesIO()
            Image.fromarray(image.squeeze()).save(buffer, "PNG")
            write_bytes(folder / name / f"{dataset.class_names[label]}.png", buffer.getvalue())


def pipeline(path: Path) -> None:
    """The stages of dvc.yaml with the files that they write, and which images each may see."""
    figure, axes = _canvas(10, 10.9, below=0.8)
    first = (
        ("check_params", "refuse every mistake\nin params.yaml", "results/params-checked"),
        ("download", "the data set,\nchecked by md5", "data/dataset"),
        ("split_tasks", "seen and unseen classes,\nimages by their use", "data/split.json"),
    )
    for x, stage in zip((1.65, 5.0, 8.35), first, strict=True):
        _stage(axes, (x, 10.15), (2.9, 1.15), *stage)
    _arrow(axes, (3.1, 10.15), (3.55, 10.15))
    _arrow(axes, (6.45, 10.15), (6.9, 10.15))

    _box(axes, (3.95, 1.65), 2.1, 7.05, PAPER, PAPER, 1, 0.15, zorder=0)
    axes.plot([8.35, 8.35, 5.0, 5.0], [9.2, 8.97, 8.97, 8.9], color=INK, linewidth=2, solid_joinstyle="round")
    _arrow(axes, (5.0, 8.97), (5.0, 8.62))
    _text(axes, (5.0, 8.35), "images", NAME)
    # From top to bottom: where, the images that a stage may see, its name, what it does and what it writes.
    rows = (
        (7.6, "training images\nof seen classes", "train_{}", "{words}", "results/trained/{}"),
        (5.95, "held-out images\nof seen classes", "calibrate@{}", "thresholds from ROC curves",
         "results/calibrated/{}"),
        (4.3, "test images of all,\nsupport images of\nunseen classes", "evaluate@{}", "as trained, and adapted",
         "results/evaluated/{}"),
        (2.65, "test images of\nunseen classes", "report@{}", "all figures, and pictures", "metrics/details/{}.json"),
    )  # fmt: skip
    trainings = (
        ("classic", 1.95, 4.0, 3.55, "batches of all seen classes"),
        ("meta", 8.05, 6.0, 6.45, "Reptile: one task after another"),
    )
    for method, x, outer, inner, words in trainings:
        colour = COLOURS[method]
        _box(axes, (x - 1.8, 1.65), 3.6, 7.05, TINTS[method], TINTS[method], 1, 0.15, zorder=0)
        _text(axes, (x, 8.4), method, NAME, color=colour, weight="bold")
        for y, seen, *texts in rows:
            if method == "classic":
                _text(axes, (5.0, y), seen)
            name, what, file = (text.format(method, words=words) for text in texts)
            _stage(axes, (x, y), (3.2, 0.85), name, what, file, colour)
            _arrow(axes, (outer, y), (inner, y), GREY)
            if y < 7:
                _arrow(axes, (x, y + 0.86), (x, y + 0.45))
        _arrow(axes, (x, 1.6), (x, 1.2), colour)
    _text(axes, (2.2, 0.77), "tables and pictures of both", ha="left")
    ends = (
        (0.15, 0.35, 9.7, INK, "compare", "metrics/*.json   plots/comparison"),
        (0.15, -0.65, 4.75, COLOURS["classic"], "export@classic", "models/classic.*"),
        (5.1, -0.65, 4.75, COLOURS["meta"], "export@meta", "models/meta.*"),
    )
    for x, y, width, colour, name, file in ends:
        _box(axes, (x, y), width, 0.83, "white", colour)
        _text(axes, (x + 0.25, y + 0.42), name, NAME, weight="bold", ha="left")
        _text(axes, (x + width - 0.25, y + 0.42), file, FILE, family="monospace", color=GREY, ha="right")
    save(figure, path)


def reptile(path: Path) -> None:
    """One outer step of Reptile in a plane that stands for the space of weights."""
    figure, axes = _canvas(10, 6.3)
    start = np.array([1.5, 1.6])
    tasks = {  # where the inner steps of a task lead, where its name stands
        "A": ([(1.65, 2.45), (2.0, 3.25), (2.5, 4.0), (3.15, 4.6), (3.9, 5.0)], (4.15, 5.0), "#332288", "o"),
        "B": ([(2.3, 2.4), (3.2, 3.0), (4.15, 3.35), (5.1, 3.5), (6.05, 3.55)], (6.3, 3.55), "#009E73", "s"),
        "C": ([(2.4, 1.3), (3.35, 0.95), (4.3, 0.7), (5.25, 0.52), (6.2, 0.45)], (6.45, 0.45), "#AA3377", "D"),
    }
    mean = np.mean([steps[-1] for steps, *_ in tasks.values()], axis=0)
    for name, (steps, place, colour, marker) in tasks.items():
        way = np.array([start, *steps])
        axes.plot(*way.T, "-", color=colour, linewidth=2.2)
        axes.plot(*way[1:].T, marker, color=colour, markersize=8, markeredgecolor="white")
        axes.plot(*way[-1], marker, color=colour, markersize=14, markeredgecolor="white")
        _text(axes, place, f"trained on task {name}", color=colour, ha="left")
        axes.plot(*np.array([way[-1], mean]).T, ":", color=GREY, linewidth=1.6, zorder=1)
    axes.plot(*np.array([start, mean]).T, "--", color=GREY, linewidth=1.6, zorder=1)
    axes.plot(*mean, "X", color=GREY, markersize=15, markeredgecolor="white")
    _text(axes, (mean[0] + 0.35, mean[1] - 0.15), "mean of the trained weights", color=GREY, ha="left")

    orange, new = COLOURS["meta"], start + 0.58 * (mean - start)
    _arrow(axes, tuple(start), tuple(new), orange, width=6, head=30)
    words = "outer step:\nthe next start"
    _text(axes, (new[0] - 0.15, new[1] - 0.48), words, NAME, color=orange, weight="bold", ha="left")
    axes.plot(*start, "o", color=INK, markersize=16, zorder=5)
    _text(axes, (start[0] - 0.2, start[1] - 0.3), "start: the\nweights so far", va="top", linespacing=1.2)
    words = "inner loop:\neach dot is a step\non this task alone"
    _text(axes, (0.25, 4.25), words, ha="left", linespacing=1.3)
    formula = r"weights $\leftarrow$ weights + meta_step $\cdot$ mean over tasks (trained weights $-$ weights)"
    _text(axes, (5, 5.95), formula, NAME)
    save(figure, path)


def triplet(data: Path, path: Path) -> None:
    """Anchor, positive and negative as pictures, then as directions, with what the loss does to them."""
    dataset = load_dataset(data)
    for row, name, *_ in TRIPLET.values():
        if name not in dataset.class_names or dataset.class_names[dataset.train_labels[row]] != name:
            raise UserError(f"{data}: found another data set; this picture needs `dataset: cifar100`, then `dvc repro`")
    figure, axes = _canvas(10, 5.8)
    _box(axes, (3.6, 0.2), 1.2, 5.4, PAPER, GREY)
    _text(axes, (4.2, 2.9), "one\nnetwork\nfor all\nthree", linespacing=1.4)
    _arrow(axes, (4.85, 2.9), (5.23, 2.9), GREY)

    origin, radius = np.array([5.65, 1.6]), 3.2
    axes.add_patch(Arc(tuple(origin), 2 * radius, 2 * radius, theta1=-4, theta2=100, color=GREY, linewidth=1.2))
    axes.add_patch(Circle(tuple(origin), 0.08, color=INK, zorder=5))
    for y, (role, (row, name, colour, angle, offset, side)) in zip((4.0, 2.1, 0.2), TRIPLET.items(), strict=True):
        axes.imshow(dataset.train_images[row], extent=(0.2, 1.8, y, y + 1.6), interpolation="nearest", zorder=2)
        _box(axes, (0.2, y), 1.6, 1.6, "none", colour, 4, 0.02)
        _text(axes, (2.0, y + 1.0), role, NAME, weight="bold", color=colour, ha="left")
        _text(axes, (2.0, y + 0.6), name, ha="left")
        _arrow(axes, (3.2, y + 0.8), (3.58, y + 0.8), GREY)
        tip = origin + radius * _direction(angle)
        _arrow(axes, tuple(origin), tuple(tip), colour, width=3.5, head=22)
        _text(axes, tip + offset, f"{role} {role[0]}", weight="bold", color=colour, ha=side)
    anchor = TRIPLET["anchor"][3]
    for role, word, to in (("positive", "pull", 68.0), ("negative", "push", 2.0)):
        _, _, colour, angle, *_ = TRIPLET[role]
        swing = [origin + 0.86 * radius * _direction(at) for at in np.linspace(angle, to, 30)]
        axes.plot(*np.array(swing[:-1]).T, color=colour, linewidth=2.5)
        _arrow(axes, tuple(swing[-3]), tuple(swing[-1]), colour, width=2.5, head=22)
        _text(axes, origin + 0.72 * radius * _direction((angle + to) / 2), word, color=colour, style="italic")
        first, last = sorted((angle, anchor))
        axes.add_patch(Arc(tuple(origin), 2.1, 2.1, theta1=first, theta2=last, color=INK, linewidth=1.2))
        _text(axes, origin + 1.62 * _direction((first + last) / 2), f"cos(a, {role[0]})", TEXT - 1)
    _text(axes, (7.4, 0.85), r"loss = max(0, cos(a, n) $-$ cos(a, p) + margin)")
    _text(axes, (7.4, 0.4), "triplet accuracy: how often cos(a, p) > cos(a, n)")
    save(figure, path)


def _canvas(width: float, height: float, below: float = 0.0) -> tuple[Figure, Axes]:
    """A figure, and axes without a frame over all of it, whose coordinates are inches."""
    figure = plt.figure(figsize=(width, height + below), layout="none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(-below, height), aspect="equal", autoscale_on=False)
    axes.axis("off")
    return figure, axes


def _text(axes: Axes, place: Point | np.ndarray, words: str, size: float = TEXT, **style: Any) -> None:
    """Words, in ink and centred unless `style` says otherwise, above all else."""
    defaults: dict[str, Any] = {"color": INK, "ha": "center", "va": "center", "zorder": 4}
    axes.text(place[0], place[1], words, fontsize=size, **defaults | style)


def _box(axes: Axes, corner: Point, width: float, height: float, face: str, edge: str, line: float = 1.8,
         rounding: float = 0.12, zorder: int = 3) -> None:  # fmt: skip
    style = f"round,pad=0,rounding_size={rounding}"
    colours: dict[str, Any] = {"facecolor": face, "edgecolor": edge, "linewidth": line, "zorder": zorder}
    axes.add_patch(FancyBboxPatch(corner, width, height, style, **colours))


def _stage(axes: Axes, centre: Point, size: Point, name: str, what: str, file: str, edge: str = INK) -> None:
    """A stage's box, and on its lower edge the file or folder that it writes."""
    (x, y), (width, height) = centre, size
    top, bottom = y + height / 2, y - height / 2
    _box(axes, (x - width / 2, bottom), width, height, "white", edge)
    _text(axes, (x, top - 0.25), name, NAME, weight="bold")
    _text(axes, (x, top - 0.55 - 0.13 * what.count("\n")), what)
    _text(axes, (x, bottom - 0.2), file, FILE, family="monospace", color=GREY)


def _arrow(axes: Axes, tail: Point, tip: Point, colour: str = INK, width: float = 2, head: float = 16) -> None:
    style: dict[str, Any] = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(tail, tip, mutation_scale=head, color=colour, linewidth=width, **style))


def _direction(degrees: float) -> np.ndarray:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])


if __name__ == "__main__":
    run_stage(main)
