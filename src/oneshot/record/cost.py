"""What networks reach on CIFAR-FS, by what their training costs: here, and in papers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


def operations(parameters: dict[str, Any]) -> int:
    """Multiplications and additions in layers, for one image of CIFAR that a training of `parameters` sees."""
    group = "network."
    shape = {name.removeprefix(group): value for name, value in parameters.items() if name.startswith(group)}
    network = new_network(NetworkParams(**shape), [0.0] * 3, [1.0] * 3).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, SIDE, SIDE))
    return PASSES * counter.get_total_flops()


def draw(record: Record, path: Path) -> None:
    """Accuracy by cost of both trainings, for all lines of the record with CIFAR-FS's classes, beside papers.

    Raises:
        NotRun: no such line has figures.
    """
    costs = {  # of an image
        name: operations(record.defaults | study["parameters"]) / PETA
        for name, study in record.done.items()
        if study["parameters"].get("split.unseen") == "cifar_fs"
    }
    if not costs:
        raise NotRun("make studies")
    figure, panels = plt.subplots(1, 2, figsize=(12, 5))
    figure.suptitle("CIFAR-FS: accuracy by the cost of a training")
    for place, (axes, (shots, words)) in enumerate(zip(panels, SHOTS.items(), strict=True)):
        for method in METHODS:
            studies = [(record.done[name][method], cost) for name, cost in costs.items()]
            points = sorted(
                (cost * study["record"]["images"], 100 * study["unseen"]["sampled_episodes"][shots]["accuracy"])
                for study, cost in studies
            )
            axes.plot(*zip(*points, strict=True), **looks(method))
        for paper, cost in record.published["cifar_fs_cost"].items():
            accuracy = record.published["cifar_fs"][paper][place]
            axes.plot(cost, accuracy, "x", color="black")
            axes.annotate(paper, (cost, accuracy), xytext=(6, 0), textcoords="offset points", va="center", size="small")
        axes.set(xscale="log", xlim=(0.2, 1000), ylabel=f"{words} accuracy in %")
        axes.set_xlabel("10¹⁵ floating-point operations")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.legend(loc="lower right")
    save(figure, path)
