"""What calibration and evaluation measure: a trained network beside the images of seen and unseen classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from oneshot.adaptation.adapter import AdaptationParams, Adapter, Embed, Embedder
from oneshot.common.errors import UserError
from oneshot.common.params import Seed, load_params
from oneshot.data.dataset import load_array, load_dataset
from oneshot.data.images import ImageStore
from oneshot.data.sampling import BatchParams, ClassPool, random_stream
from oneshot.data.split import load_split
from oneshot.evaluation.calibration import ThresholdParams
from oneshot.evaluation.embedded import EmbeddingStage
from oneshot.evaluation.episodes import draw_supports
from oneshot.hardware.device import set_up
from oneshot.model.losses import LossParams
from oneshot.model.model_file import load_model


class MeasuringStage(EmbeddingStage):
    """What the stages `calibrate`, `evaluate` and `report` read."""

    seed: Seed
    loss: LossParams
    batch: BatchParams
    threshold: ThresholdParams
    adaptation: AdaptationParams


@dataclass(frozen=True)
class Classes:
    """Classes that are measured together.

    Args:
        name: seen, validation or unseen.
        labels_once: their labels, ascending.
        rows, labels: of their test images (N,), class after class.
        embeddings: of those by the frozen network (N, D).
    """

    name: str
    labels_once: list[int]
    rows: np.ndarray
    labels: np.ndarray
    embeddings: Tensor


class Context:
    """A trained network, as it is (`frozen`) and with its `adapter`, beside the data set and its split.

    Args:
        model, embedded: the network, and the folder in which `embed_all` left its embeddings.

    Raises:
        UserError: these, the data set or the split are missing, damaged, or do not fit together.
    """

    def __init__(self, params: MeasuringStage, model: Path, embedded: Path, data: Path, split_file: Path) -> None:
        self.params = params
        self.compute = set_up(params.hardware)
        network, self.about = load_model(model, self.compute.device)
        self.dataset, self.split = load_dataset(data), load_split(split_file)
        self.names, self.test_labels = self.dataset.class_names, self.dataset.test_labels
        # For adapting all weights: without augmentation, a lone support is its own positive, which teaches nothing.
        augmentation = "crop" if params.batch.augmentation == "none" else params.batch.augmentation
        self.train_images = ImageStore(self.dataset.train_images, self.compute.device, augmentation)
        self.test_images = ImageStore(self.dataset.test_images, self.compute.device)
        stores = {"train": self.train_images, "test": self.test_images}
        self.vectors = {store: load_array(embedded / f"{part}.npy") for part, store in stores.items()}
        for part, store in stores.items():
            if self.vectors[store].shape != (len(store.images), network.dimensions):
                raise UserError(f"{embedded}: not of this network and data set ({part}.npy); run `dvc repro`")
        trained = Embedder(network, self.compute, params.evaluation.tta)
        self.adapter = Adapter(params.adaptation, trained, self.frozen, self.train_images, params.loss.soft_scale)

    @classmethod
    def of(cls, method: str) -> Context:
        """The network of a training, `classic` or `meta`, in the project's folder."""
        model, embedded = Path(f"results/trained/{method}/model.safetensors"), Path(f"results/embedded/{method}")
        return cls(load_params(MeasuringStage), model, embedded, Path("data/dataset"), Path("data/split.json"))

    @property
    def shots(self) -> dict[str, int | None]:
        """The numbers of images to adapt on, by the name that metrics give them; None stands for all."""
        numbers = self.params.adaptation.shots
        return {f"adapted_{shots}": shots for shots in numbers} | ({"adapted_all": None} if numbers else {})

    @property
    def held_out(self) -> list[int]:
        """The unseen classes, or the validation classes where nothing is measured on the unseen ones."""
        return self.split.unseen if self.params.evaluation.unseen else self.split.validation

    def classes(self, name: str, labels: list[int]) -> Classes:
        """Classes with their test images."""
        rows = self.test_rows(labels)
        return Classes(name, labels, rows, self.test_labels[rows], self.embed_test(rows))

    def frozen(self, store: ImageStore, rows: np.ndarray) -> Tensor:
        """See `Embed`."""
        return torch.from_numpy(self.vectors[store][rows])

    def embed_train(self, rows: np.ndarray, by: Embed | None = None) -> Tensor:
        """Unit vectors (len(rows), D) of training images, by the frozen network or what it adapted to."""
        return (by or self.frozen)(self.train_images, rows)

    def embed_test(self, rows: np.ndarray, by: Embed | None = None) -> Tensor:
        """Unit vectors (len(rows), D) of test images, by the frozen network or what it adapted to."""
        return (by or self.frozen)(self.test_images, rows)

    def test_rows(self, labels: list[int], most: int | None = None) -> np.ndarray:
        """Rows of the test images of these classes, class after class, at most `most` of each."""
        return np.concatenate([np.flatnonzero(self.test_labels == label)[:most] for label in labels])

    def supports(self, label: int) -> np.ndarray:
        """Rows of the training images that a class may give as supports."""
        return (self.split.training | self.split.support)[label]

    def adapted_to_class(self, label: int, shots: int | None, draw: int) -> tuple[Embed, np.ndarray]:
        """Adapted on `shots` images of a class (None: all), against all other seen classes; the rows of the former."""
        rng = random_stream(self.params.seed, "supports", label, shots or 0, draw)
        chosen = self.supports(label)
        if shots is not None:
            chosen = rng.choice(chosen, shots, replace=False)
        rest = [rows for other, rows in self.split.training.items() if other != label]
        return self.adapter.adapt(ClassPool([chosen, *rest]), np.array([0]), rng), chosen

    def adapted_to_episode(self, labels: list[int], shots: int, draw: int) -> tuple[Embed, list[np.ndarray]]:
        """Adapted on an N-way support set as a whole, and the rows of that set, class by class.

        The frozen network gets the same set in its draw of that number.
        """
        supports = [self.supports(label) for label in labels]
        places = draw_supports([len(rows) for rows in supports], shots, draw, self.params.seed)
        chosen = [rows[place] for rows, place in zip(supports, places, strict=True)]
        rng = random_stream(self.params.seed, "adaptation", 2, shots, draw)
        return self.adapter.adapt(ClassPool(chosen), np.arange(len(labels)), rng), chosen
