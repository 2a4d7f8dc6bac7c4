"""Do few classes a task and an optimizer that starts anew give a network that learns faster with all its weights?

    python regimes/true_reptile.py

Reptile as in its paper (Nichol et al. 2018), and classic training. Then all weights take steps on a support set, by the
training's objective and batch-norm statistics. Two hours on one core; killed, it goes on where it was.
"""

from __future__ import annotations

import copy
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from _question import ROOT, write_answer
from torch import Tensor

from oneshot.adaptation.adapter import Embedder
from oneshot.common.files import read_json, write_json
from oneshot.common.params import load_params
from oneshot.common.stage import run_stage
from oneshot.data.dataset import load_dataset
from oneshot.data.images import ImageStore
from oneshot.data.sampling import ClassPool, random_stream
from oneshot.data.split import load_split
from oneshot.evaluation.episodes import draw_supports, episode_accuracy, prototype
from oneshot.hardware.device import describe, set_up
from oneshot.model.model_file import load_model
from oneshot.record.runs import run_pipeline
from oneshot.training.learner import Learner, OptimizerStep, TrainingStage

FOLDS = {f"fold_{seed}": seed for seed in range(2, 8)}  # fold 1 holds out the classes that were chosen on
SHOTS, STEPS = (5, 1), (20, 0, 5, 50)  # the first are those that decide
SETS, CHOOSING_SETS, QUERIES = 20, 5, 20  # support sets of a fold, and to choose by; test images of each of its classes
# As all answers, of the former default's network.
ALWAYS = {
    "image_budget": 200_000, "hardware.threads": 1, "network.widths": [64, 128, 256], "loss.softmax_scale": 10.0
}  # fmt: skip
REPTILE = {"reptile.task_classes": 8, "reptile.inner_steps": 10, "reptile.inner_state": "reset"}
# What was tried on the validation classes of another split, and what did best there after 20 steps with 5 shots
CHOOSING = {"image_budget": 100_000, "split.unseen": "fold_10", "split.validation_classes": 10}
TRIED: dict[str, dict[str, Any]] = {
    "classic": {},
    "muon": {},
    "muon_slow": {"reptile.inner_learning_rate": 0.02},
    "muon_4_classes": {"reptile.task_classes": 4},
    "adam": {"reptile.inner_optimizer": "adam", "reptile.inner_learning_rate": 0.001, "reptile.inner_momentum": 0},
}
RATES = {"sgd": (0.001, 0.003, 0.01, 0.05), "adam": (3e-5, 1e-4, 3e-4, 1e-3), "muon": (0.001, 0.003, 0.01, 0.03)}
CHOSEN = "muon"
HOW = {"classic": ("muon", 0.003), "meta": ("muon", 0.001)}  # the adaptation's optimizer and learning rate


class Tested:
    """A network of the run in `folder`, beside the images of a `group` of classes: validation or unseen."""

    def __init__(self, folder: Path, method: str, group: str) -> None:
        self.params = load_params(TrainingStage, folder / "params.yaml")
        self.compute = set_up(self.params.hardware)
        self.network, _ = load_model(folder / f"results/trained/{method}/model.safetensors", self.compute.device)
        dataset, split = load_dataset(folder / "data/dataset"), load_split(folder / "data/split.json")
        labels = getattr(split, group)
        self.supports = [split.support[label] for label in labels]
        self.images = ImageStore(dataset.train_images, self.compute.device, "crop_flip")
        self.test_images = ImageStore(dataset.test_images, self.compute.device)
        self.queries = np.concatenate([np.flatnonzero(dataset.test_labels == label)[:QUERIES] for label in labels])
        self.query_classes = np.repeat(np.arange(len(labels)), len(self.queries) // len(labels))

    def accuracies(self, draw: int, shots: int, kind: str, rate: float, steps: tuple[int, ...]) -> list[float]:
        """N-way accuracy after each number of `steps` on support set number `draw`, all of it in each step."""
        ways, seed = np.arange(len(self.supports)), self.params.seed
        drawn = draw_supports([len(rows) for rows in self.supports], shots, draw, seed)
        chosen = np.stack([rows[places] for rows, places in zip(self.supports, drawn, strict=True)])
        learner, rng = self.learner(chosen), random_stream(seed, "adaptation", 2, shots, draw)
        take = OptimizerStep(learner, learner.optimizer(kind, rate, momentum=0.0))
        found = {0: self.accuracy(learner, chosen)}
        for step, batch in enumerate(learner.batches(rng, ways, max(steps)), start=1):
            take(learner.inputs(batch, ways, rng), rate)
            if step in steps:
                found[step] = self.accuracy(learner, chosen)
        return [found[step] for step in steps]

    def learner(self, chosen: np.ndarray) -> Learner:
        """A copy of the network with the losses of a support set (N, K), whose softmax starts from its prototypes."""
        groups: dict[str, Any] = {"batch": self.params.batch.model_copy(update={"size": chosen.size})}
        if chosen.shape[1] == 1:  # a single image has no positive
            groups["loss"] = self.params.loss.model_copy(update={"triplet_weight": 0.0})
        params, network = self.params.model_copy(update=groups), copy.deepcopy(self.network)
        learner = Learner(params, self.compute, network, self.images, ClassPool(list(chosen))).eval()
        next(learner.losses.parameters()).data.copy_(self.prototypes(learner, chosen))
        return learner

    def prototypes(self, learner: Learner, chosen: np.ndarray) -> Tensor:
        """Those (N, D) of a support set."""
        embed = Embedder(learner.network, self.compute, "none")
        return prototype(embed(self.images, chosen.reshape(-1)).unflatten(0, chosen.shape))

    def accuracy(self, learner: Learner, chosen: np.ndarray) -> float:
        """The share of queries that are nearest to the prototype of their class."""
        queries = Embedder(learner.network, self.compute, "none")(self.test_images, self.queries)
        return episode_accuracy(self.prototypes(learner, chosen)[None], queries, self.query_classes)[0]


def measure(run: str, method: str, changes: dict[str, Any], group: str, cases: list[Any], sets: int) -> dict[str, Any]:
    """Train in runs/`run`/ and measure: the mean accuracies of so many support sets in each of `cases`, kept there."""
    path = ROOT / f"runs/{run}/{method}.json"
    found = read_json(path) if path.exists() else {}
    if missing := [case for case in cases if str(case) not in found]:
        network = Tested(run_pipeline(ROOT, run, ALWAYS | REPTILE | changes, f"train_{method}"), method, group)
        for case in missing:
            accuracies = [network.accuracies(draw, *case) for draw in range(sets)]
            found[str(case)] = np.mean(accuracies, axis=0).tolist()
            write_json(path, found)
    return {str(case): [round(accuracy, 6) for accuracy in found[str(case)]] for case in cases}


def main() -> None:
    cases: list[Any] = [(5, kind, rate, (20, 0)) for kind in RATES for rate in RATES[kind]]
    choosing = {}
    for name, changes in TRIED.items():
        method = "classic" if name == "classic" else "meta"
        choosing[name] = measure(f"true_{name}", method, CHOOSING | changes, "validation", cases, CHOOSING_SETS)
    found: dict[str, list[Any]] = {method: [] for method in HOW}
    for (fold, seed), (method, how) in product(FOLDS.items(), HOW.items()):
        changes = TRIED[CHOSEN] | {"seed": seed, "split.unseen": fold}
        cases = [(shots, *how, STEPS) for shots in SHOTS]
        found[method].append(list(measure(f"true_{fold}", method, changes, "unseen", cases, SETS).values()))
    figures = {}
    for (row, shots), (column, steps) in product(enumerate(SHOTS), enumerate(STEPS)):
        first, second = ([of[row][column] for of in found[method]] for method in HOW)
        figures[f"10-way {shots}-shot after {steps} steps"] = first, second
    machine = describe(set_up(load_params(TrainingStage, ROOT / "runs/true_fold_2/params.yaml").hardware))
    about = {"true Reptile": REPTILE | TRIED[CHOSEN], "adaptation": HOW, "choosing": choosing, "machine": machine}
    write_answer("true_reptile", ("classic", "true Reptile"), list(FOLDS), figures, about)


if __name__ == "__main__":
    run_stage(main)
