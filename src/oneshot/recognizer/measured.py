"""A network on pictures of one's own: a threshold for them, and the figures of evaluation, with intervals over classes.

An interval of 95 % is for other classes of the kind, at the same threshold: a bootstrap of `DRAWS` draws of as many
classes, with replacement, widened as Student's interval is for few.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from oneshot.common.errors import UserError, printable
from oneshot.common.files import new_file, read_json, write_json
from oneshot.evaluation import episodes
from oneshot.evaluation.calibration import Calibration, calibrate, roc_table
from oneshot.evaluation.metrics import (
    BLOCK,
    Verification,
    float32_at_least,
    on_grid,
    pair_similarities,
    similarities,
    triplet_accuracy,
)
from oneshot.recognizer import cli
from oneshot.recognizer.recognizer import CALIBRATE, OwnThreshold, Recognizer

Floats = NDArray[np.float64]

DRAWS = 2000
FEWEST = 5  # classes for an interval: those of fewer say next to nothing


class Figure(NamedTuple):
    """A fraction of 1, and its interval where there are enough classes for one."""

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        interval = "" if self.low is None or self.high is None else f" ({100 * self.low:.1f} to {100 * self.high:.1f})"
        return f"{100 * self.value:.1f} %{interval}"


class OwnClasses:
    """Embeddings of the pictures of C >= 2 classes, at least two of each.

    Args:
        vectors, names: (P, D) float32 unit vectors, and the class of each; a class of a single one is left out.
        where: they come from, for the refusal of fewer classes.
    """

    def __init__(self, vectors: NDArray[np.float32], names: Sequence[str], where: object = "pictures") -> None:
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(names):
            rows.setdefault(name, []).append(row)
        self.pools = [torch.from_numpy(vectors[part]) for part in rows.values() if len(part) > 1]
        if len(self.pools) < 2:
            found = f"found {len(self.pools)} classes of two or more pictures that can be read; must be at least 2"
            raise UserError(f"{where}: {found}")
        if single := [printable(name) for name, part in rows.items() if len(part) == 1]:
            print(f"left out, {len(single)} classes of one picture: {', '.join(single[:5])}", file=sys.stderr)
        self.sizes = np.array([len(pool) for pool in self.pools])
        labels = np.repeat(np.arange(len(self.pools)), self.sizes)
        self.pairs = Verification(*pair_similarities(torch.cat(self.pools), labels))

    def rates(self, threshold: float) -> dict[str, Figure]:
        """`tpr`, `fpr` and `binary`, (TPR + 1 - FPR) / 2, at a threshold."""
        rows, sizes, first = on_grid(torch.cat(self.pools)), self.sizes, np.cumsum(self.sizes) - self.sizes
        least = float(float32_at_least(threshold))
        accepted = np.zeros((len(sizes), len(sizes)))  # pairs of class and class that reach the threshold
        for label, own in enumerate(rows.split(sizes.tolist())):
            for block in own.split(max(1, BLOCK // len(rows))):
                reached = (similarities(block, rows) >= least).sum(dim=0).numpy()
                accepted[label] += np.add.reduceat(reached, first)
        np.fill_diagonal(accepted, 0)
        same = np.array([(pair_similarities(own, np.zeros(len(own), int))[0] >= least).sum() for own in self.pools])

        def tpr(times: Floats) -> Floats:
            return times @ same / (times @ (sizes * (sizes - 1) / 2))

        def fpr(times: Floats) -> Floats:
            return (times @ accepted * times).sum(axis=1) / ((times @ sizes) ** 2 - times**2 @ sizes**2)

        ways: dict[str, Callable[[Floats], Floats]] = {"tpr": tpr, "fpr": fpr}
        ways["binary"] = lambda times: (tpr(times) + 1 - fpr(times)) / 2
        return {name: _figure(way, self.sizes) for name, way in ways.items()}

    def triplets(self) -> Figure:
        """Triplet accuracy: the mean over the classes."""
        won = np.zeros((len(self.pools), len(self.pools)))  # share of triplets, by the class of the negative
        for own, other in permutations(range(len(won)), 2):
            label = np.zeros(self.sizes[own], int)
            won[own, other] = triplet_accuracy(self.pools[own], label, self.pools[other])[0]
        others = self.sizes * (1.0 - np.eye(len(won)))  # images that a class has as negatives

        def mean(times: Floats) -> Floats:
            return (times * (times @ (others * won).T / (times @ others.T))).sum(axis=1) / times.sum(axis=1)

        return _figure(mean, self.sizes)

    def few_shot(self, shots: int) -> tuple[int, Figure] | None:
        """N, and N-way accuracy by `shots` pictures of each of the N classes that have more; None below two classes."""
        pools = [pool for pool in self.pools if len(pool) > shots]
        if len(pools) < 2:
            return None
        sizes = np.array([len(pool) for pool in pools])
        right: list[list[float]] = []  # of each class in each draw
        for draw in range(max(10, min(episodes.DRAWS, 5000 // len(pools)))):
            drawn = episodes.draw_supports(sizes.tolist(), shots, draw, seed=0)
            chosen = [pool[rows] for pool, rows in zip(pools, drawn, strict=True)]
            rest = [pool[np.delete(np.arange(len(pool)), rows)] for pool, rows in zip(pools, drawn, strict=True)]
            prototypes = episodes.prototype(torch.stack(chosen))[None]
            right.append(
                [episodes.episode_accuracy(prototypes, own, np.full(len(own), n))[0] for n, own in enumerate(rest)]
            )
        of_each = np.mean(right, axis=0)
        return len(pools), _figure(lambda times: times @ of_each / times.sum(axis=1), sizes)


def own_threshold(
    own: OwnClasses, network: str, fpr: float | None
) -> tuple[Calibration, dict[str, Figure], dict[str, Any]]:
    """The threshold for a wished share `fpr` of false positives, or for the highest balanced accuracy; its rates.

    The last is what its file holds; `network` is the md5 of the model file.
    """
    calibration = calibrate(own.pairs, "balanced") if fpr is None else calibrate(own.pairs, "fpr", fpr)
    rates, curve = own.rates(calibration.threshold), roc_table(own.pairs, calibration)
    about = {"classes": len(own.sizes), "pictures": int(own.sizes.sum())}
    roc = {key: [row[key] for row in curve] for key in ("threshold", "fpr", "tpr")}
    threshold = {"network": network, "threshold": calibration.threshold, "criterion": calibration.criterion}
    measured = {name: figure._asdict() for name, figure in rates.items()}
    return calibration, rates, threshold | about | measured | {"roc": roc}


def figures(own: OwnClasses, threshold: float) -> dict[str, tuple[str, Figure]]:
    """The figures in front of evaluation by their keys there, each with words for it."""
    best = own.pairs.best()[1]
    found = {
        "triplet": ("triplet accuracy", own.triplets()),
        "binary": (f"binary accuracy at {threshold:.3f}", own.rates(threshold)["binary"]),
        "binary_best": (f"binary accuracy at {best:.3f}, the best", own.rates(best)["binary"]),
    }
    for shots in episodes.HEADLINE_SHOTS:
        if measured := own.few_shot(shots):
            found[episodes.shot_name(shots)] = (f"{measured[0]}-way {shots}-shot", measured[1])
    return found


def draw_roc(own: OwnClasses, calibration: Calibration, path: Path) -> None:
    """The ROC curve with the threshold that was chosen, as SVG or PNG by the name; the same bytes each time."""
    from oneshot.report.plots import COLOURS, plt, save  # late: takes a second

    fpr, tpr, _ = own.pairs.roc_points()
    figure, axes = plt.subplots(figsize=(5, 5))
    axes.plot(100 * fpr, 100 * tpr, color=COLOURS["classic"])
    axes.plot(100 * calibration.fpr, 100 * calibration.tpr, "o", color=COLOURS["meta"])
    axes.set(xlabel="different pairs taken for same, in %", ylabel="same pairs found, in %")
    axes.set_title(f"{len(own.sizes)} classes; mark: threshold {calibration.threshold:.3f}")
    save(figure, path)


def _figure(of: Callable[[Floats], Floats], sizes: NDArray[np.int64]) -> Figure:
    """What a figure (B,) is of classes of these sizes, by how often each is in one of B draws, (B, C)."""
    value = float(of(np.ones((1, len(sizes))))[0])
    if len(sizes) < FEWEST:
        return Figure(value, None, None)
    draws = np.random.default_rng(0).multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), DRAWS)
    with np.errstate(invalid="ignore"):  # a draw of one class alone has no different pairs
        ends = np.nanquantile(of(draws.astype(float)), [0.025, 0.975])
    wider = stdtrit(len(sizes) - 1, 0.975) / ndtri(0.975) * (len(sizes) / (len(sizes) - 1)) ** 0.5
    low, high = wider * (ends - value)
    if high - low < 1e-9:  # no class differs, as where all is right: the rule of three
        low, high = -3 / sizes.sum(), 3 / sizes.sum()
    return Figure(value, max(0.0, float(value + low)), min(1.0, float(value + high)))


def run_evaluate(options: argparse.Namespace) -> int:
    """`oneshot evaluate`: the figures in front, of classes that no training saw."""
    recognizer = Recognizer(options.model, options.threshold)
    own, failed = _own(recognizer, options.folder)
    found = figures(own, recognizer.threshold)
    if options.json:
        values = {key: {"what": words, **figure._asdict()} for key, (words, figure) in found.items()}
        print(json.dumps({"classes": len(own.sizes), "pictures": int(own.sizes.sum()), "figures": values}, indent=2))
    else:
        _show(own, dict(found.values()))
    return cli.FAILED if failed else 0


def run_calibrate(options: argparse.Namespace) -> int:
    """`oneshot calibrate`: a file that holds something else than a threshold is not overwritten."""
    if options.fpr is not None and not 0 < options.fpr < 1:
        raise UserError(f"--fpr: found {options.fpr}; must be above 0 and below 1")
    if os.path.lexists(options.output):
        read_json(options.output, OwnThreshold, CALIBRATE)
    plot = new_file("--plot", options.plot, ".svg", ".png") if options.plot else None
    recognizer = Recognizer(options.model)
    own, failed = _own(recognizer, options.folder)
    calibration, rates, content = own_threshold(own, recognizer.name, options.fpr)
    write_json(options.output, content)
    if plot:
        draw_roc(own, calibration, plot)
    print(f"{options.output}: threshold {calibration.threshold:.3f}")
    words = {"fpr": "different pairs taken for same", "tpr": "same pairs found", "binary": "balanced accuracy"}
    _show(own, {words[name]: rates[name] for name in words})
    return cli.FAILED if failed else 0


def _show(own: OwnClasses, rows: dict[str, Figure]) -> None:
    """Figures, a line each, and what they are of."""
    width = max(map(len, rows))
    for words, figure in rows.items():
        print(f"{words:{width}}  {figure}")
    enough = len(own.sizes) >= FEWEST
    about = "in brackets 95 % intervals over classes" if enough else f"intervals take {FEWEST} classes or more"
    print(f"{own.sizes.sum()} pictures of {len(own.sizes)} classes; {about}", file=sys.stderr)


def _own(recognizer: Recognizer, folder: str) -> tuple[OwnClasses, int]:
    """What can be measured in a folder, and how many pictures cannot be read."""
    every, found, vectors = cli.in_folder(recognizer, folder)
    return OwnClasses(vectors, found, folder), len(every) - len(found)
