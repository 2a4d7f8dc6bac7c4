"""Draw the README's explanations: docs/pipeline.svg, docs/reptile.svg and docs/triplet.svg, the same bytes each time.

python scripts/draw_figures.py      (after `dvc repro`, with `dataset: cifar100`: the triplet shows its pictures)
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Arc, Circle, FancyArrowPatch, FancyBboxPatch

from oneshot.dataset import load_dataset
from oneshot.errors import UserError
from oneshot.plots import COLOURS, save  # importing it also makes SVGs reproducible
from oneshot.stage import run_stage

INK, GREY, PAPER = "#222222", "#666666", "#F2F2F2"
TINTS = {"classic": "#E3F0F9", "meta": "#FBE9DC"}
NAME, TEXT, FILE = 16, 13.5, 12.5  # font sizes in points: readable where the picture is shown at half its size

# Rows of CIFAR-100's training images: two of one class, one of another.
TRIPLET = {"anchor": (124, "tiger"), "positive": (910, "tiger"), "negative": (474, "lion")}
Point = tuple[float, float]


def main() -> None:
    pipeline(ROOT / "docs/pipeline.svg")
    reptile(ROOT / "docs/reptile.svg")
    triplet(ROOT / "data/dataset", ROOT / "docs/triplet.svg")


def pipeline(path: Path) -> None:
    """The stages of dvc.yaml with the files that they write, and which images each may see."""
    axes = _canvas(10, 9.0, below=1.2)
    _stage(axes, (1.65, 8.25), 2.9, "check_params", "refuse every mistake\nin params.yaml", "results/params-checked")
    _stage(axes, (5.0, 8.25), 2.9, "download", "the data set,\nchecked by md5", "data/dataset")
    _stage(axes, (8.35, 8.25), 2.9, "split_tasks", "seen and unseen classes,\nimages by their use", "data/split.json")
    _arrow(axes, (3.1, 8.25), (3.55, 8.25))
    _arrow(axes, (6.45, 8.25), (6.9, 8.25))

    _panel(axes, (3.95, 1.65), 2.1, 5.1, PAPER)
    axes.plot([8.35, 8.35, 5.0, 5.0], [7.3, 7.05, 7.05, 7.0], color=INK, linewidth=2, solid_joinstyle="round")
    _arrow(axes, (5.0, 7.05), (5.0, 6.68))
    axes.text(5.0, 6.45, "images", fontsize=NAME, ha="center", va="center", color=INK)
    rows = (5.7, 4.05, 2.4)
    images = (
        "training images\nof seen classes",
        "held-out images\nof seen classes",
        "test images of all,\nsupport images of\nunseen classes",
    )
    for y, words in zip(rows, images, strict=True):
        axes.text(5.0, y, words, fontsize=TEXT, ha="center", va="center", color=INK, linespacing=1.25)

    trainings = {"classic": "batches of all seen classes", "meta": "Reptile: one task after another"}
    for method, x in (("classic", 1.95), ("meta", 8.05)):
        colour = COLOURS[method]
        _panel(axes, (x - 1.8, 1.65), 3.6, 5.1, TINTS[method])
        axes.text(x, 6.45, method, fontsize=NAME, color=colour, weight="bold", ha="center", va="center")
        stages = (
            (f"train_{method}", trainings[method], f"results/trained/{method}"),
            (f"calibrate@{method}", "thresholds from ROC curves", f"results/calibrated/{method}"),
            (f"evaluate@{method}", "as trained, and adapted", f"results/evaluated/{method}"),
        )
        inner = x + 1.6 if x < 5 else x - 1.6
        for y, stage in zip(rows, stages, strict=True):
            _stage(axes, (x, y), 3.2, *stage, colour, height=0.85)
            _arrow(axes, (4.0 if x < 5 else 6.0, y), (inner, y), GREY)
        for y in rows[1:]:
            _arrow(axes, (x, y + 0.86), (x, y + 0.45))
        _arrow(axes, (x, 1.6), (x, 1.2), colour)

    axes.add_patch(_box((0.15, 0.13), 9.7, 1.05, "white", INK))
    axes.text(0.5, 0.86, "compare", fontsize=NAME, weight="bold", va="center", color=INK, zorder=4)
    what = "classic beside meta: the same figures, their difference"
    axes.text(2.2, 0.86, what, fontsize=TEXT, va="center", color=INK, zorder=4)
    written = "metrics/{classic, meta, evaluation, comparison}.json      plots/*"
    axes.text(0.5, 0.4, written, fontsize=FILE, family="monospace", color=GREY, va="center", zorder=4)
    for x, what in (
        (0.15, "a map, an episode, the worst mistakes: plots/*"),
        (5.1, "small, with model cards: models/*"),
    ):
        axes.add_patch(_box((x, -1.1), 4.75, 1.05, "white", INK))
        axes.text(x + 0.25, -0.8, what, fontsize=FILE, va="center", color=INK, zorder=4)
    names = {
        "illustrate@classic": (0.4, COLOURS["classic"]),
        "illustrate@meta": (2.75, COLOURS["meta"]),
        "export": (5.35, INK),
    }
    for name, (x, colour) in names.items():
        axes.text(x, -0.37, name, fontsize=TEXT, weight="bold", va="center", color=colour, zorder=4)
    _save(axes, path)


def reptile(path: Path) -> None:
    """One outer step of Reptile in a plane that stands for the space of weights."""
    axes = _canvas(10, 6.3)
    start = np.array([1.5, 1.6])
    tasks = {  # where the inner steps of a task lead, where its name stands
        "A": ([(1.65, 2.45), (2.0, 3.25), (2.5, 4.0), (3.15, 4.6), (3.9, 5.0)], (4.15, 5.0), "#332288", "o"),
        "B": ([(2.3, 2.4), (3.2, 3.0), (4.15, 3.35), (5.1, 3.5), (6.05, 3.55)], (6.3, 3.55), "#009E73", "s"),
        "C": ([(2.4, 1.3), (3.35, 0.95), (4.3, 0.7), (5.25, 0.52), (6.2, 0.45)], (6.45, 0.45), "#AA3377", "D"),
    }
    ends = []
    for name, (steps, place, colour, marker) in tasks.items():
        way = np.array([start, *steps])
        axes.plot(*way.T, "-", color=colour, linewidth=2.2)
        axes.plot(*way[1:].T, marker, color=colour, markersize=8, markeredgecolor="white")
        axes.plot(*way[-1], marker, color=colour, markersize=14, markeredgecolor="white")
        axes.text(*place, f"trained on task {name}", fontsize=TEXT, color=colour, va="center")
        ends.append(way[-1])
    mean = np.mean(ends, axis=0)
    for end in ends:
        axes.plot(*np.array([end, mean]).T, ":", color=GREY, linewidth=1.6, zorder=1)
    axes.plot(*np.array([start, mean]).T, "--", color=GREY, linewidth=1.6, zorder=1)
    axes.plot(*mean, "X", color=GREY, markersize=15, markeredgecolor="white")
    axes.text(mean[0] + 0.35, mean[1] - 0.15, "mean of the trained weights", fontsize=TEXT, color=GREY, va="center")

    orange, new = COLOURS["meta"], start + 0.58 * (mean - start)
    _arrow(axes, (start[0], start[1]), (new[0], new[1]), orange, width=6, head=30)
    words = "outer step:\nthe next start"
    axes.text(new[0] - 0.15, new[1] - 0.48, words, fontsize=NAME, color=orange, weight="bold", va="center")
    axes.plot(*start, "o", color=INK, markersize=16, zorder=5)
    axes.text(
        start[0] - 0.2, start[1] - 0.3, "start: the\nweights so far", fontsize=TEXT, color=INK, ha="center", va="top"
    )
    words = "inner loop:\neach dot is a step\non this task alone"
    axes.text(0.25, 4.25, words, fontsize=TEXT, color=INK, va="center", linespacing=1.3)
    formula = r"weights $\leftarrow$ weights + meta_step $\cdot$ mean over tasks (trained weights $-$ weights)"
    axes.text(5, 5.95, formula, fontsize=NAME, color=INK, ha="center", va="center")
    _save(axes, path)


def triplet(data: Path, path: Path) -> None:
    """Anchor, positive and negative as pictures, then as directions, with what the loss does to them."""
    dataset = load_dataset(data)
    for row, name in TRIPLET.values():
        if name not in dataset.class_names or dataset.class_names[dataset.train_labels[row]] != name:
            raise UserError(f"{data}: found another data set; this picture needs `dataset: cifar100`, then `dvc repro`")
    axes = _canvas(10, 5.8)
    colours = {"anchor": INK, "positive": "#009E73", "negative": "#AA3377"}
    for y, (role, (row, name)) in zip((4.0, 2.1, 0.2), TRIPLET.items(), strict=True):
        axes.imshow(dataset.train_images[row], extent=(0.2, 1.8, y, y + 1.6), interpolation="nearest", zorder=2)
        axes.add_patch(_box((0.2, y), 1.6, 1.6, "none", colours[role], 4, rounding=0.02))
        axes.text(2.0, y + 1.0, role, fontsize=NAME, weight="bold", color=colours[role], va="center")
        axes.text(2.0, y + 0.6, name, fontsize=TEXT, color=INK, va="center")
        _arrow(axes, (3.2, y + 0.8), (3.58, y + 0.8), GREY)
    axes.add_patch(_box((3.6, 0.2), 1.2, 5.4, PAPER, GREY))
    words = "one\nnetwork\nfor all\nthree"
    axes.text(4.2, 2.9, words, fontsize=TEXT, color=INK, ha="center", va="center", linespacing=1.4, zorder=4)
    _arrow(axes, (4.85, 2.9), (5.23, 2.9), GREY)

    origin, radius = np.array([5.65, 1.6]), 3.2
    angles = {"anchor": 56.0, "positive": 92.0, "negative": 24.0}
    tips = {role: origin + radius * _direction(angle) for role, angle in angles.items()}
    axes.add_patch(Arc(tuple(origin), 2 * radius, 2 * radius, theta1=-4, theta2=100, color=GREY, linewidth=1.2))
    for role, tip in tips.items():
        _arrow(axes, (origin[0], origin[1]), (tip[0], tip[1]), colours[role], width=3.5, head=22)
    axes.add_patch(Circle(tuple(origin), 0.08, color=INK, zorder=5))
    labels = {
        "anchor": ("anchor a", (0.1, 0.2), "left"),
        "positive": ("positive p", (0.1, 0.25), "center"),
        "negative": ("negative n", (0.12, 0.08), "left"),
    }
    for role, (words, offset, side) in labels.items():
        x, y = tips[role] + offset
        axes.text(x, y, words, fontsize=TEXT, weight="bold", color=colours[role], ha=side, va="center")
    for role, word, to in (("positive", "pull", 68.0), ("negative", "push", 2.0)):
        angle = angles[role]
        swing = [origin + 0.86 * radius * _direction(at) for at in np.linspace(angle, to, 30)]
        axes.plot(*np.array(swing[:-1]).T, color=colours[role], linewidth=2.5)
        _arrow(axes, tuple(swing[-3]), tuple(swing[-1]), colours[role], width=2.5, head=22)
        x, y = origin + 0.72 * radius * _direction((angle + to) / 2)
        axes.text(x, y, word, fontsize=TEXT, color=colours[role], ha="center", va="center", style="italic")
        first, last = sorted((angle, angles["anchor"]))
        axes.add_patch(Arc(tuple(origin), 2.1, 2.1, theta1=first, theta2=last, color=INK, linewidth=1.2))
        x, y = origin + 1.62 * _direction((first + last) / 2)
        axes.text(x, y, f"cos(a, {role[0]})", fontsize=TEXT - 1, color=INK, ha="center", va="center")
    loss = r"loss = max(0, cos(a, n) $-$ cos(a, p) + margin)"
    axes.text(7.4, 0.85, loss, fontsize=TEXT, color=INK, ha="center", va="center")
    right = "triplet accuracy: how often cos(a, p) > cos(a, n)"
    axes.text(7.4, 0.4, right, fontsize=TEXT, color=INK, ha="center", va="center")
    _save(axes, path)


def _canvas(width: float, height: float, below: float = 0.0) -> Axes:
    """Axes without a frame over the whole figure, whose coordinates are inches."""
    figure = plt.figure(figsize=(width, height + below), layout="none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(-below, height), aspect="equal", autoscale_on=False)
    axes.axis("off")
    return axes


def _box(
    corner: Point, width: float, height: float, face: str, edge: str, line: float = 1.8, rounding: float = 0.12
) -> FancyBboxPatch:
    style = f"round,pad=0,rounding_size={rounding}"
    return FancyBboxPatch(corner, width, height, style, facecolor=face, edgecolor=edge, linewidth=line, zorder=3)


def _panel(axes: Axes, corner: Point, width: float, height: float, colour: str) -> None:
    axes.add_patch(FancyBboxPatch(corner, width, height, "round,pad=0,rounding_size=0.15", color=colour, zorder=0))


def _stage(
    axes: Axes, centre: Point, width: float, name: str, what: str, file: str, edge: str = INK, height: float = 1.15
) -> None:
    """A stage's box, and on its lower edge the file or folder that it writes."""
    x, y = centre
    bottom = y - height / 2
    axes.add_patch(_box((x - width / 2, bottom), width, height, "white", edge))
    top = bottom + height
    axes.text(x, top - 0.25, name, fontsize=NAME, weight="bold", ha="center", va="center", color=INK, zorder=4)
    lines = what.count("\n") + 1
    axes.text(x, top - 0.42 - 0.13 * lines, what, fontsize=TEXT, ha="center", va="center", color=INK, zorder=4)
    axes.text(x, bottom - 0.2, file, fontsize=FILE, family="monospace", ha="center", va="center", color=GREY, zorder=4)


def _arrow(axes: Axes, tail: Point, tip: Point, colour: str = INK, width: float = 2, head: float = 16) -> None:
    axes.add_patch(
        FancyArrowPatch(
            tail, tip, arrowstyle="-|>", mutation_scale=head, color=colour, linewidth=width, shrinkA=0, shrinkB=0
        )
    )


def _direction(degrees: float) -> np.ndarray:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])


def _save(axes: Axes, path: Path) -> None:
    figure = axes.get_figure(root=True)
    assert figure is not None
    save(figure, path)


if __name__ == "__main__":
    run_stage(main)
