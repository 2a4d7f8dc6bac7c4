"""Pictures of the results, with the same bytes each time; classic and meta keep their colours throughout."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from textwrap import wrap
from typing import Any
from unicodedata import east_asian_width

import matplotlib
import numpy as np

matplotlib.use("svg")  # no screen needed
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font, get_font_names
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from oneshot.common.files import write_bytes
from oneshot.report.comparison import Rows

# Okabe & Ito's palette: told apart by the colour-blind. Line styles tell them apart without colour.
COLOURS = {"classic": "#0072B2", "meta": "#D55E00"}
STYLES, MARKERS = {"classic": "-", "meta": "--"}, {"classic": "o", "meta": "D"}
GOOD, BAD = "#00734F", "#B3003B"  # told apart by brightness too; mistakes carry a mark as well
ANSWERS = {"right": ("", GOOD), "wrong": ("\u2717 ", BAD), "unknown": ("? ", "#555555")}
# With Chinese, Japanese and Korean, on usual systems: after the font that Matplotlib brings, where they are there.
FALLBACKS = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans CJK KR", "WenQuanYi Micro Hei", "Droid Sans Fallback", "Unifont",
    "Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo", "Yu Gothic", "Microsoft YaHei", "Malgun Gothic",
)  # fmt: skip
PERCENT = (1, 2, 5, 10, 20, 50, 100)  # ticks of log axes

plt.rcParams.update(
    {
        "svg.hashsalt": "oneshot",
        "svg.fonttype": "path",
        "font.family": ["DejaVu Sans", *(name for name in FALLBACKS if name in get_font_names())],
        "font.size": 13,
        "text.parse_math": False,  # names of classes may have dollar signs
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": "medium",
        "axes.grid": True,
        "grid.alpha": 0.25,
        "figure.constrained_layout.use": True,
        "legend.frameon": False,
    }
)


def roc(curves: dict[str, Rows], areas: dict[str, float], path: Path) -> None:
    """Both kinds of mistakes on log axes, where ROC curves differ, the areas below these, and meta - classic.

    The rows of a curve have `fpr`, `tpr`, and `chosen`, 1 at the calibrated threshold.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.4))
    figure.suptitle("Pairs of classes that training never saw")
    rates, found = np.geomspace(1, 100, 200), {}
    for method, rows in curves.items():
        mistakes = np.array([(100 * row["fpr"], 100 * (1 - row["tpr"])) for row in rows])
        found[method] = np.interp(rates, mistakes[:, 0], 100 - mistakes[:, 1])
        _line(left, method, *mistakes.T, label=f"{method}, AUC {areas[method]:.3f}")
        (chosen,) = np.maximum(1, mistakes[[bool(row["chosen"]) for row in rows]])
        size = 14 if method == "classic" else 9  # one may lie on the other
        left.plot(*chosen, MARKERS[method], color=COLOURS[method], markersize=size, markeredgecolor="white")
    right.plot(rates, found["meta"] - found["classic"], color="black", linewidth=2.5)
    right.axhline(0, color="grey", linewidth=1)
    for axes in (left, right):
        axes.set(xscale="log", xlim=(1, 100), xlabel="different pairs taken for same, in %")
    left.set(yscale="log", ylim=(1, 100), ylabel="same pairs not found, in %", title="marks: calibrated thresholds")
    right.set_title("same pairs found: meta - classic, in points")
    left.legend(loc="lower left")
    _mark_percent(left.xaxis, left.yaxis, right.xaxis)
    save(figure, path)


def class_accuracies(rows: Rows, mean: dict[str, float], path: Path) -> None:
    """Triplet accuracy of each held-out class, the best at the top, and meta - classic, with its mean over classes.

    Rows are as `comparison.side_by_side` gives them, the mean is a `difference` with its `ci95`.
    """
    rows = sorted(rows, key=lambda row: row["classic_triplet_accuracy"] + row["meta_triplet_accuracy"])
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 0.42 * len(rows) + 2.8), sharey=True, width_ratios=(3, 2))
    figure.suptitle("Classes that training never saw, told apart from each other")
    middle, half = 100 * mean["difference"], 100 * mean["ci95"]
    right.axvspan(middle - half, middle + half, color="#E5E5E5")
    right.axvline(0, color="black", linewidth=1)
    for state, column, fill in (("frozen", "triplet_accuracy", "full"),
                                ("adapted", "adapted_all_triplet_accuracy", "none")):  # fmt: skip
        if f"meta_{column}" in rows[0]:
            y = np.arange(len(rows)) + (0.22 if fill == "none" else 0)
            values = {method: np.array([100 * row[f"{method}_{column}"] for row in rows]) for method in COLOURS}
            style: dict[str, Any] = {"linestyle": "none", "fillstyle": fill, "markersize": 9}
            for method, x in values.items():
                _line(left, method, x, y, marker=MARKERS[method], label=f"{method}, {state}", **style)
            right.hlines(y, 0, values["meta"] - values["classic"], color="grey", linewidth=1.5)
            right.plot(values["meta"] - values["classic"], y, "s", color="black", **style)
    left.set_ylim(-0.5, len(rows) - 0.3)
    left.set_yticks(range(len(rows)), [_name(row["class"], 24) for row in rows])
    left.set_xlabel("triplet accuracy in % (chance: 50)\nadapted: on all images of the class")
    right.set_xlabel("meta - classic, in points\nband: frozen, 95 % over classes")
    figure.legend(loc="outside lower center", ncols=4, fontsize=12)
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
    figure, panels = plt.subplots(1, len(tables), figsize=(12, 4.8), sharey=True)
    figure.suptitle("Pairs of classes that training never saw")
    for axes, (method, rows) in zip(panels, tables.items(), strict=True):
        cosines = [row["cosine"] for row in rows]
        for kind, colour in (("different", "#BBBBBB"), ("same", COLOURS[method])):
            shares = [100 * row[kind] for row in rows]
            axes.fill_between(cosines, shares, step="mid", color=colour, alpha=0.6, label=f"{kind} class")
        axes.axvline(thresholds[method], color="black", linewidth=2)
        axes.set(xlabel="similarity of a pair (cosine)", xlim=(-1, 1))
        axes.set_title(f"{method}: called same from {thresholds[method]:.2f} on")
        axes.legend(loc="upper left")
    panels[0].set(ylabel="share of pairs in %", ylim=(0, None))  # after the last panel: they share the axis
    save(figure, path)


def accuracy_over_shots(rows: Rows, path: Path) -> None:
    """What more support images bring, with 95 % intervals: rows as `comparison.over_shots` gives them."""
    adapted = any(row["meta_gain"] != "" for row in rows)
    figure, (panels,) = plt.subplots(1, 1 + adapted, figsize=(6 + 6 * adapted, 5.2), squeeze=False)
    for axes, kind, state, fill in ((panels[0], "adapted_few_shot", "adapted", "full"),
                                    (panels[0], "frozen_few_shot", "frozen", "none"),
                                    (panels[-1], "gain", "adapted", "full")):  # fmt: skip
        for method, shift in (("classic", -0.07), ("meta", 0.07)):
            column = f"{method}_{kind}"
            if shown := [place for place, row in enumerate(rows) if row[column] != ""]:
                y, half = ([100 * (rows[place][key] or 0) for place in shown] for key in (column, f"{column}_ci95"))
                axes.set_xticks(shown, [str(rows[place]["shots"] or "all") for place in shown])
                style = {"fillstyle": fill, "alpha": 1 if fill == "full" else 0.6, "label": f"{method}, {state}"}
                axes.errorbar([place + shift for place in shown], y, half, **looks(method) | style)
    words = (
        ("Which of the unseen classes is it?", "accuracy in %", "draws of them"),
        ("Which of two pictures is of the class?", "triplet accuracy: points\nabove the frozen network", "classes"),
    )
    for axes, (title, figures, varied) in zip(panels, words, strict=False):
        over = f"support images of a class\nbars: 95 % over {varied}; one seed"
        axes.set(title=title, ylabel=figures, xlabel=over)
    panels[0].legend(loc="lower right")  # where the curves leave room
    save(figure, path)


def open_set(details: dict[str, dict[str, Any]], path: Path) -> None:
    """What is named rightly, and what the rule for a threshold keeps, over the rate of false alarms.

    `details`: for each training the figures that `evaluation.open_set` gives.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.2))
    figure.suptitle("Half of the unseen classes enrolled by a picture each, the others strangers")
    for method, figures in details.items():
        wished = [float(name.removeprefix("false_alarms_")) for name in figures]
        for axes, key in ((left, "identified"), (right, "found")):
            axes.plot(wished, [100 * row.get(key, np.nan) for row in figures.values()], **looks(method))
    right.plot(wished, wished, color="grey", linewidth=1)
    left.set(xlabel="strangers named, in %", ylabel="known pictures named rightly, in %", ylim=(0, None))
    right.set(
        xlabel="strangers named: wished, in %", ylabel="found, in %\n(threshold from known classes)", yscale="log"
    )
    for axes in (left, right):
        axes.set_xscale("log")
    _mark_percent(left.xaxis, right.xaxis, right.yaxis, most=50)
    left.legend(loc="lower right")
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
        axes.text(x, y, _name(name, 24), fontsize=15, ha="center", va="center", bbox=label, zorder=10)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    axes.set_title(f"Classes that training never saw: t-SNE of the {method} network's embeddings", fontsize=18)
    axes.axis("off")
    save(figure, path)


def episode(example: dict[str, Any], supports: NDArray[np.uint8], queries: NDArray[np.uint8], method: str,
            path: Path) -> None:  # fmt: skip
    """A one-shot episode: a column for each class, its support, then its queries with what they were taken for."""
    pairs = list(zip(example["queries"], queries, strict=True))
    columns = [[pair for pair in pairs if pair[0]["class"] == support["class"]] for support in example["supports"]]
    rows = 1 + max(map(len, columns))
    size = (max(6, 1.25 * len(columns)), 1.65 * rows + 1)
    figure, panels = plt.subplots(rows, len(columns), figsize=size, squeeze=False)
    answers = [query["answer"] for query in example["queries"]]
    counts = ", ".join(f"{answers.count(answer)} {answer}" for answer in ANSWERS)
    figure.suptitle(f"A picture of each class (top), then queries\nto the {method} network: {counts}", fontsize=14)
    for line, support, image, own in zip(panels.T, example["supports"], supports, columns, strict=True):
        _picture(line[0], image, _name(support["class"], 12, 2), "black", bold=True)
        for axes, (query, picture) in zip(line[1:], own, strict=False):
            mark, colour = ANSWERS[query["answer"]]
            named = "unknown" if query["answer"] == "unknown" else _name(query["predicted"], 12, 2)
            _picture(axes, picture, f"{mark}{named}\n{query['similarity']:.2f}", colour)
        for axes in line[1 + len(own) :]:
            axes.axis("off")
    figure.supxlabel(f"below a query: answer, similarity; unknown below {example['threshold']:.2f}", fontsize=12)
    save(figure, path)


def hardest_triplets(rows: Rows, images: NDArray[np.uint8], method: str, path: Path) -> None:
    """Triplets, a column each: anchor, positive and negative (3 N images, in this order), with both cosines."""
    width = 1.75 * len(rows) + 0.8
    figure, panels = plt.subplots(3, len(rows), figsize=(width, 7.2), squeeze=False)
    title = f"What the {method} network gets most wrong among unseen classes"
    figure.suptitle("\n".join(wrap(title, int(8.5 * width))), fontsize=14)  # so many letters fit
    for place, row in enumerate(rows):
        name, other = (_name(row[key], 12, 2) for key in ("class", "negative_class"))
        trio = images[3 * place : 3 * place + 3]
        _picture(panels[0][place], trio[0], name, "black", bold=True)
        _picture(panels[1][place], trio[1], f"{name}\n{row['positive_cosine']:.2f}", GOOD)
        _picture(panels[2][place], trio[2], f"{other}\n{row['negative_cosine']:.2f}", BAD)
    for axes, words in zip(panels[:, 0], ("anchor", "same class,\nfar away", "other class,\nclose"), strict=True):
        axes.set_ylabel(words, fontsize=12, rotation=0, ha="right", va="center")
    save(figure, path)


def looks(method: str) -> dict[str, Any]:
    """How a training's line with marks looks."""
    return {"color": COLOURS[method], "linestyle": STYLES[method], "marker": MARKERS[method], "label": method}


def save(figure: Figure, path: Path) -> None:
    """Write a figure as SVG, or as PNG where the path says so, with the same bytes each time, and close it."""
    buffer = io.BytesIO()
    if path.suffix == ".png":  # pictures of many images: as SVG they would be large
        figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    else:
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    write_bytes(path, buffer.getvalue())


def _mark_percent(*log_axes: Axis, most: int = 100) -> None:
    ticks = [tick for tick in PERCENT if tick <= most]  # one beyond would widen the picture
    for axis in log_axes:
        axis.set_ticks(ticks, [str(tick) for tick in ticks])
        axis.set_minor_locator(NullLocator())


def _picture(axes: Axes, image: NDArray[np.uint8], words: str, colour: str, bold: bool = False) -> None:
    axes.imshow(_shown(image), interpolation="bicubic")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, edgecolor=colour, linewidth=3)
    axes.set_xlabel(words, color=colour, fontsize=11, fontweight="bold" if bold else "normal")


def _shown(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image (H, W, 1 or 3) in colours (H, W, 3)."""
    return np.broadcast_to(image, (*image.shape[:2], 3))


def _name(name: str, width: int, lines: int = 1) -> str:
    """A class's name in at most so many lines of so many letters; a letter that no font has as its code point."""
    drawn = "".join(letter if ord(letter) in _letters() else f"U+{ord(letter):04X} " for letter in name)
    if any(east_asian_width(letter) in "WF" for letter in drawn):
        width //= 2
    found = wrap(drawn.replace("_", " "), width)
    if len(found) > lines:
        found[lines - 1 :] = [f"{found[lines - 1][: width - 1]}\u2026"]
    return "\n".join(found)


@cache
def _letters() -> frozenset[int]:
    """What can be drawn."""
    fonts = (get_font(findfont(family)) for family in plt.rcParams["font.family"])
    return frozenset(code for font in fonts for code in font.get_charmap())


def _line(axes: Axes, method: str, x: Any, y: Any, **style: Any) -> None:
    axes.plot(x, y, **looks(method) | {"marker": "", "linewidth": 2.5} | style)
