"""What networks reach on CIFAR-FS, by what their training costs: here, and in papers."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch.utils.flop_counter import FlopCounterMode

from oneshot.model.network import NetworkParams, new_network
from oneshot.record.studies import NotRun, Record
from oneshot.report.comparison import METHODS
from oneshot.report.plots import looks, save

SHOTS = {"one_shot": "5-way 1-shot", "five_shot": "5-way 5-shot"}
SIDE, PASSES = 32, 3  # pixels; a forward pass, and a backward pass that takes twice as long
PETA = 1e15


def operations(network: NetworkParams) -> int:
    """The multiplications and additions in layers for one image of CIFAR that a training sees."""
    model = new_network(network, [0.0] * 3, [1.0] * 3).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, SIDE, SIDE))
    return PASSES * counter.get_total_flops()


def draw(record: Record, path: Path) -> None:
    """Accuracy by cost of both trainings, for all lines of the record with CIFAR-FS's classes, beside papers.

    Raises:
        NotRun: no such line has figures.
    """
    lines = [name for name in record.done if record.changes(name).get("split.unseen") == "cifar_fs"]
    if not lines:
        raise NotRun("make studies")
    figure, panels = plt.subplots(1, 2, figsize=(12, 5))
    figure.suptitle("CIFAR-FS: accuracy by the cost of a training")
    for place, (axes, (key, words)) in enumerate(zip(panels, SHOTS.items(), strict=True)):
        for method in METHODS:
            points = []
            for name in lines:
                values = record.defaults | record.changes(name)
                shape = {key.removeprefix("network."): v for key, v in values.items() if key.startswith("network.")}
                study = record.done[name][method]
                cost = operations(NetworkParams(**shape)) * study["record"]["images"] / PETA
                points.append((cost, 100 * study["unseen"]["sampled_episodes"][key]["accuracy"]))
            axes.plot(*zip(*sorted(points), strict=True), **looks(method))
        for paper, cost in record.published["cifar_fs_cost"].items():
            accuracy = record.published["cifar_fs"][paper][place]
            axes.plot(cost, accuracy, "x", color="black")
            axes.annotate(paper, (cost, accuracy), xytext=(-6, 0), textcoords="offset points", ha="right", va="center")
        axes.set(
            xscale="log", xlim=(0.2, 100), xlabel="10¹⁵ floating-point operations", ylabel=f"{words} accuracy in %"
        )
        axes.xaxis.set_major_formatter("{x:g}")
        axes.legend(loc="lower right")
    save(figure, path)
