"""Does training through the adaptation, with the loss on queries, make networks that adapt better?

    python regimes/adaptation_inside.py choose      learning rates of both stages, on fold 10
    python regimes/adaptation_inside.py answer      both stages for the networks of folds 1 to 6

A stage goes on from a network of a fold (`make folds`): each batch is support sets and queries of 16 classes, the
linear map adapts to the supports as it does in a test, and the gradient of the queries' loss goes through its steps.
Beside it stands as much classic training. Killed and run again, it goes on where it was; an hour on one core.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import torch
from _episodes import Measured
from _question import ROOT, fold_network, write_answer
from torch import Tensor
from torch.nn import functional as F

from oneshot.adaptation.adapter import BATCH, SOFT_SCALE, AdaptationParams, Embedder
from oneshot.common.files import md5, read_json, read_yaml, write_json
from oneshot.common.params import changed
from oneshot.common.stage import Parser, run_stage
from oneshot.data.dataset import Dataset, load_dataset
from oneshot.data.images import ImageStore
from oneshot.data.sampling import ClassPool
from oneshot.data.split import Split, load_split
from oneshot.evaluation.context import MeasuringStage
from oneshot.evaluation.episodes import prototype
from oneshot.hardware.device import keep_freed_memory, set_up
from oneshot.model.losses import SoftmaxLoss, normalized_softmax, random_triplet_loss
from oneshot.model.model_file import load_model
from oneshot.report.comparison import METHODS
from oneshot.training.classic import ClassicStage, ClassicTraining
from oneshot.training.learner import Inputs, Learner

ARMS = ("plain training", "through the adaptation")
IMAGES = 50_000  # of a stage
CLASSES, SUPPORTS = 16, 5  # of a batch, and supports of each class; the other images are queries
MEAN_OF = 50  # images of a class for its first proxy
RATES = (0.0003, 0.001, 0.003, 0.01)
# By adapted 5-shot accuracy on fold 10: 58.69 and 58.82 %, and 58.18 % without a stage
CHOSEN = {ARMS[0]: 0.001, ARMS[1]: 0.001}
CHOSEN_ON, TESTED = 10, range(1, 7)  # folds
SHOTS, EPISODES = (5, 1, 30), 100
PIECES = ROOT / "runs/adaptation_inside"


class AdaptingLearner(Learner):
    """Its loss is that of queries, by prototypes of supports, both mapped by what adapted to the supports."""

    adaptation: AdaptationParams

    def loss(self, inputs: Inputs) -> Tensor:
        """See `Learner`; a batch is laid out class after class, supports first."""
        with self.compute.forward_precision():
            embeddings = self.network(self.store.augment(inputs.draws)).view(CLASSES, -1, self.network.dimensions)
        matrix = self.adapted(embeddings[:, :SUPPORTS].flatten(0, 1), int(inputs.draws.sum()))
        mapped = F.normalize(embeddings @ matrix.T, dim=2)
        queries = mapped[:, SUPPORTS:].flatten(0, 1)
        labels = torch.arange(CLASSES).repeat_interleave(len(queries) // CLASSES)
        return normalized_softmax(queries, labels, mapped[:, :SUPPORTS].sum(dim=1), self.params.loss.softmax_scale)

    def adapted(self, supports: Tensor, seed: int) -> Tensor:
        """The map (D, D) after the steps of `Adapter` on supports (N, D), class after class, as a function of them."""
        pool = ClassPool(list(np.arange(len(supports)).reshape(-1, SUPPORTS)))
        matrix = torch.eye(supports.shape[1], requires_grad=True)
        rng, classes = np.random.default_rng(seed), np.arange(len(pool))
        for batch in pool.triplet_batches(rng, classes, BATCH, self.adaptation.steps):
            triplets = F.embedding(torch.from_numpy(batch.images), supports @ matrix.T)
            (slope,) = torch.autograd.grad(random_triplet_loss(triplets, SOFT_SCALE), matrix, create_graph=True)
            matrix = matrix - self.adaptation.learning_rate * slope
            matrix = matrix * (len(matrix) ** 0.5 / matrix.norm())
        return matrix


def stage(fold: int, method: str, arm: str, rate: float) -> dict[str, float]:
    """Train on, and measure on the classes that the fold holds out: N-way accuracies, frozen and adapted."""
    model = fold_network(fold, method)
    piece = PIECES / f"{fold}_{method}_{arm.split()[0]}_{rate}_{md5(model)[:8]}.json"
    if piece.exists():
        return read_json(piece, dict[str, float])
    print(piece.stem, flush=True)
    changes: dict[str, Any] = {"seed": fold, "image_budget": IMAGES, "classic.learning_rate": rate}
    if through := arm == ARMS[1]:
        changes["classic.batch_classes"] = CLASSES
    values = changed(read_yaml(ROOT / "params.yaml", dict[str, Any]), changes | {"hardware.threads": 1})
    params, measuring = ClassicStage.model_validate(values), MeasuringStage.model_validate(values)
    compute = set_up(params.hardware)
    keep_freed_memory()
    dataset, split = load_dataset(ROOT / "data/dataset"), load_split(ROOT / f"runs/fold_{fold}/data/split.json")
    network, _ = load_model(model)
    pool = ClassPool([split.training[label] for label in split.seen])
    store = ImageStore(dataset.train_images, compute.device, params.batch.augmentation)
    learner = (AdaptingLearner if through else Learner)(params, compute, network, store, pool)
    if isinstance(learner, AdaptingLearner):
        learner.adaptation = measuring.adaptation
    start_proxies(learner)
    learner.train()
    training = ClassicTraining(params, learner)
    for step in range(training.steps):
        training.step(step)
    measured = Measured(measuring, network, *unseen_images(dataset, split))
    found: dict[str, float] = {}
    for shots in SHOTS:
        frozen, adapted = measured.accuracy(shots, EPISODES)
        found |= {f"{shots}-shot, adapted": adapted, f"{shots}-shot, frozen": frozen}
    write_json(piece, found)
    return found


def start_proxies(learner: Learner) -> None:
    """A model file has no proxies: those of plain training start at the means of some images of each class."""
    embed = Embedder(learner.network.eval(), learner.compute, "none")
    for loss in learner.losses:
        if isinstance(loss, SoftmaxLoss):
            means = [prototype(embed(learner.store, rows[:MEAN_OF])) for rows in learner.pool.images]
            loss.proxies.data = loss.proxies.norm(dim=1, keepdim=True).detach() * torch.stack(means)


def unseen_images(dataset: Dataset, split: Split) -> tuple[np.ndarray, list[np.ndarray]]:
    """All images of the classes that a split holds out, and the rows of each class."""
    images, labels = (
        np.concatenate([getattr(dataset, f"{part}_{what}") for part in ("train", "test")])
        for what in ("images", "labels")
    )
    held_out = np.flatnonzero(np.isin(labels, split.unseen))
    return images[held_out], [np.flatnonzero(labels[held_out] == label) for label in split.unseen]


def choose() -> None:
    """Accuracy by each rate, from the meta network of a fold; what `CHOSEN` holds is the best of each arm."""
    for arm, rate in product(ARMS, RATES):
        print(arm, rate, stage(CHOSEN_ON, "meta", arm, rate))


def answer() -> None:
    """Both arms for the folds to test on: the mean of both networks of each."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for fold in TESTED:
        for place, arm in enumerate(ARMS):
            of_both = [stage(fold, method, arm, CHOSEN[arm]) for method in METHODS]
            for how, shots in product(("adapted", "frozen"), SHOTS):
                what = f"{shots}-shot, {how}"
                found.setdefault(what, ([], []))[place].append(float(np.mean([of[what] for of in of_both])))
    pairs = [f"fold_{fold}" for fold in TESTED]
    write_answer("adaptation_inside", ARMS, pairs, found, {"images": IMAGES, "rates": CHOSEN})


def main() -> None:
    parser = Parser(description="Training through the adaptation, beside plain training.")
    parser.add_argument("part", choices=("choose", "answer"))
    {"choose": choose, "answer": answer}[parser.parse_args().part]()


if __name__ == "__main__":
    run_stage(main)
