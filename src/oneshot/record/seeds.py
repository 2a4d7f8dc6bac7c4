"""The picture of the default over its seeds: few-shot accuracy as trained, whatever a network was adapted by."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from oneshot.record.statistics import interval
from oneshot.record.studies import NotRun, Record
from oneshot.report.comparison import METHODS, over_shots
from oneshot.report.plots import looks, save


def draw(record: Record, path: Path) -> None:
    """Accuracy over the number of support images, and meta - classic paired by seed, with intervals over seeds.

    Raises:
        NotRun: there is no run, or one seed.
    """
    runs = [over_shots({method: run[method] for method in METHODS}) for run in record.seeds]
    if len(runs) < 2:
        raise NotRun("make seeds")
    shots = [row["shots"] for row in runs[0] if row["meta_frozen_few_shot"] != ""]
    classic, meta = (
        np.array([[100 * run[place][f"{method}_frozen_few_shot"] for run in runs] for place in range(len(shots))])
        for method in METHODS
    )
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.2))
    figure.suptitle("Which of the unseen classes is it? The networks as trained")
    for axes, values, shift, style in (
        (left, classic, -0.07, looks("classic")),
        (left, meta, 0.07, looks("meta")),
        (right, meta - classic, 0, {"color": "black", "linestyle": "none", "marker": "s"}),
    ):
        means, halves = zip(*map(interval, values), strict=True)
        axes.errorbar(np.arange(len(means)) + shift, means, halves, markersize=8, **style)
    right.axhline(0, color="grey", linewidth=1)
    for axes, words in ((left, "accuracy in %"), (right, "meta - classic, in points")):
        axes.set(ylabel=words, xlabel=f"support images of a class\nbars: 95 % over {len(runs)} seeds")
        axes.set_xticks(range(len(shots)), map(str, shots))
    left.legend(loc="lower right")
    save(figure, path)
