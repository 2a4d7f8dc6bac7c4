"""Pictures of the results, as SVG with the same bytes each time; classic and meta keep their colours throughout."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")  # no screen needed
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from oneshot.files import write_bytes

# Okabe & Ito's palette: told apart by the colour-blind. Line styles tell them apart without colour.
COLOURS = {"classic": "#0072B2", "meta": "#D55E00"}
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
    _save(figure, path)


def class_bars(rows: Rows, path: Path) -> None:
    """Triplet accuracy of each novel class, frozen and adapted on all its training images, classic beside meta."""
    columns = {"triplet_accuracy": "frozen", "adapted_all_triplet_accuracy": "adapted on all training images"}
    figure, panels = plt.subplots(1, 2, figsize=(12, 0.45 * len(rows) + 2.4), sharey=True)
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
    panels[1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    _save(figure, path)


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
    _save(figure, path)


def _line(axes: Axes, method: str, x: list[float], y: list[float]) -> None:
    axes.plot(x, y, STYLES[method], color=COLOURS[method], linewidth=2.5, label=method)


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    write_bytes(path, buffer.getvalue())
