"""Pictures of the results, with the same bytes each time; classic and meta keep their colours throughout."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("svg")  # no screen needed
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from numpy.typing import NDArray

from oneshot.common.files import write_bytes

# Okabe & Ito's palette: told apart by the colour-blind. Line styles tell them apart without colour.
COLOURS = {"classic": "#0072B2", "meta": "#D55E00"}
GOOD, BAD = "#00734F", "#B3003B"  # told apart by brightness too; mistakes carry a mark as well
STYLES = {"classic": "-", "meta": "--"}
Rows = list[dict[str, Any]]

plt.rcParams.update(
    {
        "svg.hashsalt": "oneshot",
        "svg.fonttype": "path",
        "font.size": 13,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "figure.constrained_layout.use": True,
        "legend.frameon": False,
    }
)


def roc(curves: dict[str, Rows], path: Path) -> None:
    """ROC curves over each other: rows with `fpr`, `tpr`, and `chosen`, 1 at the calibrated threshold."""
    figure, axes = plt.subplots(figsize=(7, 6))
    for method, rows in curves.items():
        _line(axes, method, [row["fpr"] for row in rows], [row["tpr"] for row in rows])
        (point,) = [row for row in rows if row["chosen"]]
        axes.plot(point["fpr"], point["tpr"], "o", color=COLOURS[method], markersize=11, markeredgecolor="white")
    axes.plot([0, 1], [0, 1], ":", color="grey", linewidth=1)
    axes.set(
        xlabel="false-positive rate: different pairs taken for same",
        ylabel="true-positive rate: same pairs found",
        title="Pairs of classes that training never saw\ndots: calibrated thresholds",
        aspect="equal",
    )
    axes.legend(loc="lower right")
    save(figure, path)


def class_bars(rows: Rows, path: Path) -> None:
    """Triplet accuracy of each held-out class, frozen and adapted on all its images if any was; classic beside meta."""
    columns = {"triplet_accuracy": "frozen", "adapted_all_triplet_accuracy": "adapted on all training images"}
    columns = {column: title for column, title in columns.items() if f"meta_{column}" in rows[0]}
    size = (6 * len(columns), 0.45 * len(rows) + 2.4)
    figure, (panels,) = plt.subplots(1, len(columns), figsize=size, sharey=True, squeeze=False)
    figure.suptitle("Classes that training never saw, told apart from each other")
    for axes, (column, title) in zip(panels, columns.items(), strict=True):
        for offset, method in ((-0.2, "classic"), (0.2, "meta")):
            axes.barh(
                [place + offset for place in range(len(rows))],
                [100 * row[f"{method}_{column}"] for row in rows],
                height=0.38,
                color=COLOURS[method],
                hatch="//" if method == "meta" else None,
                edgecolor="white",
                label=method,
            )
        axes.set(xlim=(50, 100), xlabel="triplet accuracy in % (chance: 50)", title=title)
        axes.set_yticks(range(len(rows)), [row["class"].replace("_", " ") for row in rows])
    panels[0].invert_yaxis()
    panels[-1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    save(figure, path)


def training_curves(curves: dict[str, Rows], path: Path) -> None:
    """Accuracy on held-out images of seen classes over the images that went through the network."""
    figure, axes = plt.subplots(figsize=(8, 5))
    for method, rows in curves.items():
        accuracy = [100 * row["heldout_triplet_accuracy"] for row in rows]
        _line(axes, method, [row["images"] / 1000 for row in rows], accuracy)
    axes.set(
        xlabel="images through the network, in thousands",
        ylabel="triplet accuracy in % (chance: 50)",
        title="Held-out images of seen classes during training",
    )
    axes.legend(loc="lower right")
    save(figure, path)


def similarity_histograms(tables: dict[str, Rows], thresholds: dict[str, float], path: Path) -> None:
    """Histograms of the cosines of same and different pairs, a panel for each training, with its threshold."""
    figure, panels = plt.subplots(1, len(tables), figsize=(12, 4.5), sharey=True)
    for axes, (method, rows) in zip(panels, tables.items(), strict=True):
        cosines = [row["cosine"] for row in rows]
        for kind, colour, hatch in (("different", "#BBBBBB", None), ("same", COLOURS[method], "//")):
            shares = [100 * row[kind] for row in rows]
            axes.fill_between(cosines, shares, step="mid", color=colour, alpha=0.6, hatch=hatch, label=f"{kind} class")
        axes.axvline(thresholds[method], color="black", linewidth=2)
        axes.set(xlabel="similarity of a pair (cosine)", xlim=(-1, 1))
        axes.set_title(f"{method}: called same from {thresholds[method]:.2f} on")
        axes.legend(loc="upper left")
    panels[0].set(ylabel="share of pairs in %", ylim=(0, None))  # after the last panel: they share the axis
    save(figure, path)


def accuracy_over_shots(rows: Rows, path: Path) -> None:
    """Accuracy over the number of support images: rows of shots (0: all), and for each training its figures."""
    figure, panels = plt.subplots(1, 2, figsize=(12, 5))
    titles = {"few_shot": "Which of the unseen classes is it?", "triplet": "Which of two pictures is of the class?"}
    labels = [str(row["shots"] or "all") for row in rows]
    for axes, (kind, title) in zip(panels, titles.items(), strict=True):
        for method in COLOURS:
            for state, alpha in (("adapted", 1.0), ("frozen", 0.45)):
                column = f"{method}_{state}_{kind}"
                points = [
                    (place, 100 * row[column]) for place, row in enumerate(rows) if row.get(column) not in (None, "")
                ]
                if points:
                    x, y = zip(*points, strict=True)
                    style, width = STYLES[method], 2.5 if state == "adapted" else 1.8
                    axes.plot(x, y, style, marker="o", color=COLOURS[method], alpha=alpha, linewidth=width,
                              label=f"{method}, {state}")  # fmt: skip
        axes.set_xticks(range(len(labels)), labels)
        axes.set(xlabel="support images of a class", ylabel="accuracy in %", title=title)
    panels[0].legend(loc="lower right")  # where the curves leave room
    save(figure, path)


def thumbnail_map(rows: Rows, images: NDArray[np.uint8], method: str, path: Path) -> None:
    """A map of embeddings, each image a thumbnail framed in the colour of its class: rows of class, x and y in 0..1."""
    names = list(dict.fromkeys(row["class"] for row in rows))
    colours = {name: plt.get_cmap("tab20" if len(names) > 10 else "tab10")(i % 20) for i, name in enumerate(names)}
    figure, axes = plt.subplots(figsize=(12, 12))
    for row, image in zip(rows, images, strict=True):
        box = OffsetImage(_shown(image), zoom=24 / image.shape[0])
        frame = {"edgecolor": colours[row["class"]], "linewidth": 2.2, "boxstyle": "square,pad=0.08"}
        axes.add_artist(AnnotationBbox(box, (row["x"], row["y"]), bboxprops=frame, pad=0))
    for name in names:  # at the middle of the class, so that no colour has to be told from another
        x, y = (float(np.median([row[axis] for row in rows if row["class"] == name])) for axis in ("x", "y"))
        label = {"facecolor": "white", "edgecolor": colours[name], "linewidth": 2.5, "boxstyle": "round"}
        axes.text(x, y, name.replace("_", " "), fontsize=15, ha="center", va="center", bbox=label, zorder=10)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    axes.set_title(
        f"Pictures of classes that training never saw: alike to the {method} network where close", fontsize=15
    )
    axes.axis("off")
    save(figure, path)


def episode(example: dict[str, Any], supports: NDArray[np.uint8], queries: NDArray[np.uint8], method: str,
            path: Path) -> None:  # fmt: skip
    """A one-shot episode: a row for each class, its support, then its queries with what they were taken for."""
    rows = [[q for q in zip(example["queries"], queries, strict=True) if q[0]["class"] == support["class"]]
            for support in example["supports"]]  # fmt: skip
    columns = 1 + max(map(len, rows))
    figure, panels = plt.subplots(
        len(rows), columns, figsize=(1.75 * columns + 0.6, 2.05 * len(rows) + 1), squeeze=False
    )
    right = sum(query["right"] for query in example["queries"])
    figure.suptitle(
        f"One picture of each class (left), then queries: {right} of {len(example['queries'])} named rightly "
        f"by the {method} network",
        fontsize=14,
    )
    for line, support, image, answers in zip(panels, example["supports"], supports, rows, strict=True):
        _picture(line[0], image, support["class"].replace("_", " "), "black", bold=True)
        for axes, (query, picture) in zip(line[1:], answers, strict=False):
            sure = "" if query["similarity"] >= example["threshold"] else " ?"
            words = f"{query['predicted'].replace('_', ' ')}{sure}\n{query['similarity']:.2f}"
            _picture(axes, picture, words if query["right"] else f"\u2717 {words}", GOOD if query["right"] else BAD)
        for axes in line[1 + len(answers) :]:
            axes.axis("off")
    figure.supxlabel(
        f"below a query: what it was taken for, and the similarity; ?: below the threshold {example['threshold']:.2f}",
        fontsize=12,
    )
    save(figure, path)


def hardest_triplets(rows: Rows, images: NDArray[np.uint8], method: str, path: Path) -> None:
    """Triplets, a column each: anchor, positive and negative (3 N images, in this order), with both cosines."""
    figure, panels = plt.subplots(3, len(rows), figsize=(1.75 * len(rows) + 0.8, 7.2), squeeze=False)
    figure.suptitle(f"What the {method} network gets most wrong among unseen classes", fontsize=14)
    for place, row in enumerate(rows):
        name, other = (row[key].replace("_", " ") for key in ("class", "negative_class"))
        trio = images[3 * place : 3 * place + 3]
        _picture(panels[0][place], trio[0], name, "black", bold=True)
        _picture(panels[1][place], trio[1], f"{name}\n{row['positive_cosine']:.2f}", GOOD)
        _picture(panels[2][place], trio[2], f"{other}\n{row['negative_cosine']:.2f}", BAD)
    for axes, words in zip(panels[:, 0], ("anchor", "same class,\nfar away", "other class,\nclose"), strict=True):
        axes.set_ylabel(words, fontsize=12, rotation=0, ha="right", va="center")
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as SVG, or as PNG where the path says so, with the same bytes each time, and close it."""
    buffer = io.BytesIO()
    if path.suffix == ".png":  # pictures of many images: as SVG they would be large
        figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    else:
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    write_bytes(path, buffer.getvalue())


def _picture(axes: Axes, image: NDArray[np.uint8], words: str, colour: str, bold: bool = False) -> None:
    axes.imshow(_shown(image), interpolation="bicubic")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, edgecolor=colour, linewidth=3)
    axes.set_xlabel(words, color=colour, fontsize=11, fontweight="bold" if bold else "normal")


def _shown(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image (H, W, 1 or 3) in colours (H, W, 3)."""
    return np.broadcast_to(image, (*image.shape[:2], 3))


def _line(axes: Axes, method: str, x: list[float], y: list[float]) -> None:
    axes.plot(x, y, STYLES[method], color=COLOURS[method], linewidth=2.5, label=method)
