"""N-way K-shot accuracy before and after the linear map adapts to the support set, on pictures of any kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from oneshot.adaptation.adapter import Adapter, Embedder
from oneshot.data.images import ImageStore
from oneshot.data.sampling import ClassPool, random_stream
from oneshot.evaluation.context import MeasuringStage
from oneshot.evaluation.episodes import episode_accuracy, prototype
from oneshot.hardware.device import set_up
from oneshot.model.network import SiameseNetwork

WAYS, QUERIES = 10, 20


class Measured:
    """A network, and the embeddings by it of the images of each class, without test-time augmentation."""

    def __init__(
        self, params: MeasuringStage, network: SiameseNetwork, images: np.ndarray, rows: Sequence[np.ndarray]
    ) -> None:
        compute = set_up(params.hardware)
        store = ImageStore(images, compute.device)
        embedder = Embedder(network.to(compute.device), compute, "none")
        self.vectors = torch.cat([embedder(store, part) for part in rows])
        ends = np.cumsum([len(part) for part in rows])
        self.rows = [np.arange(end - len(part), end) for part, end in zip(rows, ends, strict=True)]
        self.adapter = Adapter(params.adaptation, embedder, self._frozen, store, params.loss.soft_scale)

    def accuracy(self, shots: int, episodes: int) -> tuple[float, float]:
        """Mean over episodes of `WAYS` classes, with `shots` supports and up to `QUERIES` other images of each:
        frozen, and adapted. The same numbers of images give the same episodes, whatever the network."""
        found = []
        for episode in range(episodes):
            random = random_stream(0, "episodes", 0, WAYS, shots, episode)
            classes = random.choice(len(self.rows), WAYS, replace=False)
            drawn = [random.permutation(self.rows[label])[: shots + QUERIES] for label in classes]
            supports, queries = [rows[:shots] for rows in drawn], [rows[shots:] for rows in drawn]
            targets = np.repeat(np.arange(WAYS), [len(rows) for rows in queries])
            adapted = self.adapter.adapt(ClassPool(supports), np.arange(WAYS), random)
            pair = []
            for embed in (self._frozen, adapted):
                prototypes = torch.stack([prototype(embed(self.adapter.store, rows)) for rows in supports])
                vectors = embed(self.adapter.store, np.concatenate(queries))
                pair += episode_accuracy(prototypes[None], vectors, targets)
            found.append(pair)
        frozen, after = np.mean(found, axis=0)
        return float(frozen), float(after)

    def _frozen(self, store: ImageStore, rows: np.ndarray) -> Tensor:
        return self.vectors[torch.from_numpy(rows)]
