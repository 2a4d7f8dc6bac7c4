"""The subject of calibration and evaluation: a trained network beside the images it is measured on."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from oneshot.adaptation import Clone, Metric, Pace, adapt_metric, adapt_network, pace
from oneshot.compute import set_up
from oneshot.dataset import load_dataset
from oneshot.episodes import draw_supports
from oneshot.errors import UserError
from oneshot.images import ImageStore
from oneshot.network import SiameseNetwork, embed, load_model
from oneshot.params import Params
from oneshot.sampling import ClassPool, random_stream
from oneshot.split import load_split


def chosen_method() -> str:
    """The training that the command line names, `classic` or `meta`; argparse explains anything else."""
    parser = argparse.ArgumentParser()
    parser.add_argument("method", choices=("classic", "meta"))
    return str(parser.parse_args().method)


class Embedded:
    """Embeddings of images by row, each computed once: the frozen network's are asked for beside every clone."""

    def __init__(self, embed: Callable[[np.ndarray], Tensor]) -> None:
        self.embed = embed
        self.place = np.zeros(0, dtype=np.int64)  # of a row in `vectors`; -1: not there yet
        self.vectors = torch.zeros(0)

    def __call__(self, rows: np.ndarray) -> Tensor:
        """Unit vectors (len(rows), D)."""
        if (more := rows.max(initial=-1) + 1 - len(self.place)) > 0:
            self.place = np.pad(self.place, (0, int(more)), constant_values=-1)
        new = np.unique(rows[self.place[rows] < 0])
        if len(new) or not len(self.vectors):
            vectors = self.embed(new)
            self.place[new] = len(self.vectors) + np.arange(len(new))
            self.vectors = torch.cat([self.vectors, vectors]) if len(self.vectors) else vectors
        return self.vectors[torch.from_numpy(self.place[rows])]


class Subject:
    """A trained network with the data set and its split."""

    def __init__(self, params: Params, model: Path, data: Path, split_file: Path) -> None:
        self.params = params
        self.compute = set_up(params)
        self.network, self.about = load_model(model, self.compute.device)
        dataset = load_dataset(data)
        self.names = dataset.class_names
        self.split = load_split(split_file)
        if params.adapt_classes > (seen := len(self.split.seen)):
            raise UserError(
                f"params.yaml: adapt_classes: found {params.adapt_classes}; must be at most {seen}, the seen classes"
            )
        most = max(params.adapt_shots, default=0)
        for label in range(len(self.names)):
            if most > (there := len(self.supports(label))):
                raise UserError(
                    f"params.yaml: adapt_shots: found {params.adapt_shots}; must be at most {there}, "
                    f"the images that class {self.names[label]} has to adapt on"
                )
        self.test_labels = dataset.test_labels
        # For adapting all weights: without augmentation, a lone support is its own positive, which teaches nothing.
        augmentation = "crop" if params.augmentation == "none" else params.augmentation
        self.train_images = ImageStore(dataset.train_images, self.compute.device, augmentation)
        self.test_images = ImageStore(dataset.test_images, self.compute.device)
        self._frozen_train = Embedded(lambda rows: self._embed(self.network, self.train_images.batch(rows)))
        self._frozen_test = Embedded(lambda rows: self._embed(self.network, self.test_images.batch(rows)))

    @property
    def shots(self) -> dict[str, int | None]:
        """The numbers of images to adapt on, by the name that metrics give them; None stands for all."""
        return {f"adapted_{shots}": shots for shots in self.params.adapt_shots} | {"adapted_all": None}

    def embed_train(self, rows: np.ndarray, clone: Clone | None = None) -> Tensor:
        """Unit vectors (len(rows), D) of training images, by the trained network or a clone of it."""
        return self._by(clone, self.train_images, self._frozen_train, rows)

    def embed_test(self, rows: np.ndarray, clone: Clone | None = None) -> Tensor:
        """Unit vectors (len(rows), D) of test images, by the trained network or a clone of it."""
        return self._by(clone, self.test_images, self._frozen_test, rows)

    def _by(self, clone: Clone | None, store: ImageStore, frozen: Embedded, rows: np.ndarray) -> Tensor:
        if isinstance(clone, Metric):
            return clone(frozen(rows))
        if clone is None or clone is self.network:
            return frozen(rows)
        return self._embed(clone, store.batch(rows))

    def _embed(self, network: SiameseNetwork, images: Tensor) -> Tensor:
        with self.compute.forward_precision():
            return embed(network, images, self.params.views)

    def test_rows(self, labels: list[int], most: int | None = None) -> np.ndarray:
        """Rows of the test images of these classes, class after class, at most `most` of each."""
        return np.concatenate([np.flatnonzero(self.test_labels == label)[:most] for label in labels])

    def supports(self, label: int) -> np.ndarray:
        """Rows of the training images that a class may give as supports."""
        split = self.split
        return split.training[label] if label in split.training else split.support[label]

    def adapted_to_class(
        self, label: int, shots: int | None, draw: int, pace: Pace | None = None
    ) -> tuple[Clone, np.ndarray]:
        """A clone adapted on `shots` images of one class against all seen classes' images, and the rows of those.

        Args:
            shots: None stands for all images of the class.
            pace: None stands for what the parameters set.
        """
        rng = random_stream(self.params.seed, "supports", label, shots or 0, draw)
        chosen = self.supports(label)
        if shots is not None:
            chosen = rng.choice(chosen, shots, replace=False)
        rest = [rows for other, rows in self.split.training.items() if other != label]
        return self._adapted(ClassPool([chosen, *rest]), np.array([0]), rng, pace or self.pace(shots)), chosen

    def adapted_to_episode(self, labels: list[int], shots: int, draw: int) -> tuple[Clone, list[np.ndarray]]:
        """A clone adapted on an N-way support set as a whole, and the rows of that set, class by class.

        It is the support set of the frozen network's draw of that number.
        """
        supports = [self.supports(label) for label in labels]
        places = draw_supports([len(rows) for rows in supports], shots, draw, self.params.seed)
        chosen = [rows[place] for rows, place in zip(supports, places, strict=True)]
        rng = random_stream(self.params.seed, "adaptation", 2, shots, draw)
        return self._adapted(ClassPool(chosen), np.arange(len(labels)), rng, self.pace(shots)), chosen

    def pace(self, shots: int | None) -> Pace:
        """How far to adapt on that many images of a class."""
        return pace(self.params, self.about["method"], shots)

    def _adapted(self, pool: ClassPool, classes: np.ndarray, rng: np.random.Generator, pace: Pace) -> Clone:
        if not pace.steps:
            return self.network
        if self.params.adapt_weights == "metric":
            return adapt_metric(self.params, self.embed_train, self.network.dimensions, pool, classes, rng, pace)
        return adapt_network(self.params, self.compute, self.network, self.train_images, pool, classes, rng, pace)
