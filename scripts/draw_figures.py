"""Draw what explains the method, docs/{pipeline,reptile,triplet}.svg, and take examples/ from the data.

    python scripts/draw_figures.py      (after `dvc repro`, with `dataset: cifar100`: the triplet shows its pictures)

The same bytes each time. examples/known/ has the first training image of each class that training never saw,
examples/new/ its first test image: none is chosen.
"""

from __future__ import annotations

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
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.squeeze()).save(folder / name / f"{dataset.class_names[label]}.png")


def pipeline(path: Path) -> None:
    """The stages of dvc.yaml with the files that they write, and which images each may see."""
    figure, axes = _canvas(10, 13.9)
    for x, *stage in (
        (1.65, "check_params", "refuse every mistake\nin params.yaml", "results/params-checked"),
        (5.0, "download", "the data set,\nchecked by md5", "data/dataset"),
        (8.35, "split_tasks", "seen and unseen classes,\nimages by their use", "data/split.json"),
    ):
        _stage(axes, (x, 13.15), (2.9, 1.15), *stage)
    _arrow(axes, (3.1, 13.15), (3.55, 13.15))
    _arrow(axes, (6.45, 13.15), (6.9, 13.15))

    _box(axes, (3.95, 1.3), 2.1, 10.45, PAPER, PAPER, 1, 0.15, zorder=0)
    axes.plot([8.35, 8.35, 5.0], [12.2, 12.0, 12.0], color=INK, linewidth=2, solid_joinstyle="round")
    _arrow(axes, (5.0, 12.02), (5.0, 11.65))
    _text(axes, (5.0, 11.4), "images", NAME)
    # From top to bottom: where, the images that a stage may see, its name, what it does and what it writes.
    rows = (
        (10.65, "training images\nof seen classes", "train_{method}", "{words}", "results/trained/{method}"),
        (9.05, "all images", "embed@{method}", "a direction for each image", "results/embedded/{method}"),
        (7.45, "held-out images\nof seen classes", "calibrate@{method}", "thresholds from ROC curves",
         "results/calibrated/{method}"),
        (5.85, "test images of all,\nsupport images of\nunseen classes", "evaluate@{method}", "as trained, and adapted",
         "results/evaluated/{method}"),
        (4.25, "", "export@{method}", "the network, for use", "models/{method}.safetensors\nmodels/{method}.md"),
        (2.45, "test images of\nunseen classes", "report@{method}", "all figures, and pictures",
         "metrics/details/{method}.json\nplots/{method}"),
    )  # fmt: skip
    for y, seen, *_ in rows:
        _text(axes, (5.0, y), seen)
    for method, x, inward, words in (
        ("classic", 1.95, 1, "batches of all seen classes"),
        ("meta", 8.05, -1, "Reptile: one task after another"),
    ):
        colour, middle, rail = COLOURS[method], x + 0.12 * inward, x - 1.65 * inward
        _box(axes, (x - 1.8, 1.3), 3.6, 10.45, TINTS[method], TINTS[method], 1, 0.15, zorder=0)
        _text(axes, (x, 11.4), method, NAME, color=colour, weight="bold")
        for y, seen, *texts in rows:
            name, what, file = (text.format(method=method, words=words) for text in texts)
            _stage(axes, (middle, y), (3.1, 0.85), name, what, file, colour)
            if seen:
                _arrow(axes, (x + 2.05 * inward, y), (middle + 1.55 * inward, y), GREY)
        for y in (9.05, 7.45, 5.85, 4.25):
            _arrow(axes, (middle, y + 0.86), (middle, y + 0.45))
        axes.plot([middle, rail, rail], [5.85, 5.85, 2.45], color=INK, linewidth=2)  # from evaluate, past export
        _arrow(axes, (rail, 2.45), (middle - 1.55 * inward, 2.45))
        _arrow(axes, (middle, 1.35), (middle, 1.0))
    _box(axes, (0.15, 0.15), 9.7, 0.83, "white", INK)
    _text(axes, (0.4, 0.57), "compare", NAME, weight="bold", ha="left")
    _text(axes, (2.2, 0.57), "both beside each other", ha="left")
    _text(axes, (9.6, 0.57), "metrics/*.json   plots/comparison", FILE, family="monospace", color=GREY, ha="right")
    save(figure, path)


def reptile(path: Path) -> None:
    """Two outer steps of Reptile in a plane that stands for the space of weights, the second one faint."""
    figure, axes = _canvas(10, 5.6)
    first = np.array([(1.2, 1.0), (1.25, 1.9), (1.6, 2.7), (2.25, 3.35), (3.1, 3.75), (4.05, 3.9)])
    second = np.array([(0, 0), (0.9, -0.75), (1.85, -1.15), (2.85, -1.2), (3.8, -0.95), (4.6, -0.45)])
    share, orange = 0.65, COLOURS["meta"]  # meta_step in the picture
    start = first[0] + share * (first[-1] - first[0])
    for task, steps, alpha in (("A", first, 1.0), ("B", start + second, 0.4)):
        axes.plot(*steps.T, "-", color=INK, linewidth=2.2, alpha=alpha)
        axes.plot(*steps[1:].T, "o", color=INK, markersize=9, alpha=alpha)
        axes.plot(*steps[[0, -1]].T, "--", color=GREY, linewidth=1.6, alpha=alpha, zorder=1)
        _arrow(axes, steps[0], steps[0] + share * (steps[-1] - steps[0]), orange, width=6, head=30, alpha=alpha)
        _text(axes, steps[-1] + (0.25, 0.05), f"trained on task {task}", ha="left", alpha=0.4 + 0.6 * alpha)
    axes.plot(*first[0], "o", color=INK, markersize=16, zorder=5)
    _text(axes, first[0] - (0, 0.3), "start: the\nweights so far", va="top", linespacing=1.2)
    _text(axes, (0.15, 3.75), "inner loop: five steps\non one task", ha="left", linespacing=1.3)
    words = "outer step towards\nwhere they led:\nthe next start"
    _text(axes, (2.05, 1.15), words, NAME, color=orange, weight="bold", ha="left")
    _text(axes, (5, 5.25), "weights \u2190 weights + meta_step \u00b7 (trained weights \u2212 weights)", NAME)
    _text(axes, (5, 4.85), "meta_step falls from 1 to 0 in the course of training", color=GREY)
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
        _arrow(axes, origin, tip, colour, width=3.5, head=22)
        _text(axes, tip + offset, f"{role} {role[0]}", weight="bold", color=colour, ha=side)
    anchor = TRIPLET["anchor"][3]
    for role, word, to in (("positive", "pull", 68.0), ("negative", "push", 2.0)):
        _, _, colour, angle, *_ = TRIPLET[role]
        swing = [origin + 0.86 * radius * _direction(at) for at in np.linspace(angle, to, 30)]
        axes.plot(*np.array(swing[:-1]).T, color=colour, linewidth=2.5)
        _arrow(axes, swing[-3], swing[-1], colour, width=2.5, head=22)
        _text(axes, origin + 0.72 * radius * _direction((angle + to) / 2), word, color=colour, style="italic")
        first, last = sorted((angle, anchor))
        axes.add_patch(Arc(tuple(origin), 2.1, 2.1, theta1=first, theta2=last, color=INK, linewidth=1.2))
        _text(axes, origin + 1.62 * _direction((first + last) / 2), f"cos(a, {role[0]})", TEXT - 1)
    _text(axes, (7.4, 0.85), "loss = softplus(s \u00b7 (cos(a, n) \u2212 cos(a, p))) / s")
    _text(axes, (7.4, 0.4), "triplet accuracy: how often cos(a, p) > cos(a, n)")
    save(figure, path)


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure, and axes without a frame over all of it, whose coordinates are inches."""
    figure = plt.figure(figsize=(width, height), layout="none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height), aspect="equal", autoscale_on=False)
    axes.axis("off")
    return figure, axes


def _text(axes: Axes, place: Point | np.ndarray, words: str, size: float = TEXT, **style: Any) -> None:
    """Words, in ink and centred unless `style` says otherwise, above all else."""
    defaults: dict[str, Any] = {"color": INK, "ha": "center", "va": "center", "zorder": 4}
    axes.text(place[0], place[1], words, fontsize=size, **defaults | style)


def _box(axes: Axes, corner: Point, width: float, height: float, face: str, edge: str, line: float = 1.8,
         rounding: float = 0.12, zorder: int = 3) -> None:  # fmt: skip
    shape = FancyBboxPatch(corner, width, height, f"round,pad=0,rounding_size={rounding}", zorder=zorder)
    shape.set(facecolor=face, edgecolor=edge, linewidth=line)
    axes.add_patch(shape)


def _stage(axes: Axes, centre: Point, size: Point, name: str, what: str, file: str, edge: str = INK) -> None:
    """A stage's box, and on its lower edge the file or folder that it writes."""
    (x, y), (width, height) = centre, size
    top, bottom = y + height / 2, y - height / 2
    _box(axes, (x - width / 2, bottom), width, height, "white", edge)
    _text(axes, (x, top - 0.25), name, NAME, weight="bold")
    _text(axes, (x, top - 0.55 - 0.13 * what.count("\n")), what)
    _text(axes, (x, bottom - 0.09), file, FILE, family="monospace", color=GREY, va="top")


def _arrow(axes: Axes, tail: Any, tip: Any, colour: str = INK, width: float = 2, head: float = 16,
           alpha: float = 1) -> None:  # fmt: skip
    style: dict[str, Any] = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(tail, tip, mutation_scale=head, color=colour, linewidth=width, alpha=alpha, **style))


def _direction(degrees: float) -> np.ndarray:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])


if __name__ == "__main__":
    run_stage(main)
