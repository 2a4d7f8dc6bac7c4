"""What a training step costs: against a bare loop, and against the reference's way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from reference_way import BATCH, LEARNING_RATE, ReferenceLoop
from timing import ROOT, Work, apart, side_by_side, spread
from torch import nn
from torch.nn import functional as F

from oneshot.common.params import changed
from oneshot.data.dataset import Dataset, channel_statistics, load_dataset
from oneshot.data.images import ImageStore
from oneshot.data.sampling import ClassPool, random_stream
from oneshot.data.split import Split, load_split
from oneshot.hardware.device import keep_freed_memory, set_up
from oneshot.model.network import SiameseNetwork, new_network
from oneshot.params import Params, check_params
from oneshot.training.classic import MOMENTUM, ClassicTraining
from oneshot.training.learner import Learner
from oneshot.training.reptile import ReptileTraining

# Changes to parameters, by their full names.
RESNET_20 = {
    "network.stem": 16, "network.widths": [16, 32, 64], "network.blocks": 3, "network.first_stride": 1,
    "network.embedding_norm": False,
}  # fmt: skip
# The reference's objective, in this project's way: one forward pass, augmented batches by index.
RANDOM_TRIPLETS = {
    "loss.mining": "random", "loss.soft_scale": 0.0, "loss.softmax_weight": 0.0, "loss.weight_decay": 0.0,
    "batch.size": 3 * BATCH, "batch.augmentation": "none", "reptile.task_classes": 1, "reptile.inner_optimizer": "adam",
    "reptile.inner_learning_rate": LEARNING_RATE, "reptile.inner_momentum": 0.9,
}  # fmt: skip
STEPS, STEPS_APART = 20, 4  # in a turn, and in one beside the reference's way


class Trainers:
    """Makes learners and trainings on the training images of a split."""

    def __init__(self, params: Params, dataset: Dataset, split: Split) -> None:
        self.params, self.dataset = params, dataset
        self.rows = [split.training[label] for label in split.seen]

    def changed(self, changes: Mapping[str, Any]) -> Params:
        """The parameters with others, by their full names."""
        return Params.model_validate(changed(self.params.model_dump(), changes))

    def learner(self, params: Params) -> Learner:
        """A learner on the training images."""
        compute = set_up(params.hardware)
        torch.manual_seed(params.seed)
        statistics = channel_statistics(self.dataset.train_images, np.concatenate(self.rows))
        store = ImageStore(self.dataset.train_images, compute.device, params.batch.augmentation)
        network = new_network(params.network, *statistics)
        return Learner(params, compute, network, store, ClassPool(self.rows, params.batch.rotates)).train()

    def classic(self, steps: int) -> Work:
        """That many steps of classic training."""
        training = ClassicTraining(self.params, self.learner(self.params))
        return lambda: finish([training.step(step) for step in range(steps)])

    def meta(self, steps: int, **changes: Any) -> Work:
        """Outer steps of Reptile of so many inner steps in all."""
        params = self.changed(changes)
        training = ReptileTraining(params, self.learner(params))
        outer = steps * params.batch.size // training.images_per_step
        assert outer, "fewer steps than an outer step has"
        return lambda: finish([training.step(step) for step in range(outer)])

    def bare(self, steps: int) -> Work:
        """Forward, backward and optimizer on one resident batch, with the plainest loss, as torch comes."""
        learner, classic = self.learner(self.params), self.params.classic
        optimizer = learner.optimizer(classic.optimizer, classic.learning_rate, MOMENTUM)
        rng = random_stream(0, "classic")
        (batch,) = learner.batches(rng, learner.pool.draw_classes(rng, classic.batch_classes), 1)
        (proxies,) = learner.losses.parameters()
        images, labels = learner.store.batch(batch.images), torch.from_numpy(batch.labels)
        labels = labels.to(images.device)

        def run() -> float:
            with as_torch_comes():
                for _ in range(steps):
                    optimizer.zero_grad()
                    with learner.compute.forward_precision():
                        embeddings = learner.network(images)
                    loss = F.cross_entropy(embeddings @ proxies.T, labels)
                    loss.backward()
                    optimizer.step()
                return finish([loss])

        return run

    def reference_way(self, steps: int, **changes: Any) -> Work:
        """The reference's loop on the same images, with the network that `changes` describe, in its own layout."""
        network = self.learner(self.changed(changes)).network.to(memory_format=torch.contiguous_format)
        loop = ReferenceLoop(Plain(network), self.dataset.train_images, self.rows)

        def run() -> float:
            with as_torch_comes():
                return finish([loop.step(int(loop.rng.integers(len(loop.stacks)))) for _ in range(steps)])

        return run


def of_project() -> Trainers:
    """Trainers by the project's parameters and data; this process keeps freed memory, as trainings do."""
    keep_freed_memory()
    params = check_params(ROOT / "params.yaml")
    return Trainers(params, load_dataset(ROOT / "data/dataset"), load_split(ROOT / "data/split.json"))


class Plain(nn.Module):
    """A network of this project for images that are normalised already, without its care for memory layout."""

    def __init__(self, network: SiameseNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images (B, C, H, W) to embeddings (B, D)."""
        return self.network.embedding_norm(self.network.backbone(images))


def finish(losses: list[torch.Tensor]) -> float:
    """Wait for the device: the last loss as a number."""
    return losses[-1].item()


@contextmanager
def as_torch_comes() -> Iterator[None]:
    """Without the deterministic algorithms that the project's trainings ask for."""
    asked = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("default")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(asked)


def against_bare(trainers: Trainers, rounds: int) -> dict[str, Any]:
    """The trainers' step beside a bare loop of the same network, batch and precision."""
    contenders = {"bare loop": trainers.bare, "classic": trainers.classic, "meta": trainers.meta}
    seconds = side_by_side({name: make(STEPS) for name, make in contenders.items()}, rounds)
    return {
        "images_per_second": spread(trainers.params.batch.size * STEPS / seconds["classic"]),
        "to_bare_loop": {name: spread(seconds[name] / seconds["bare loop"]) for name in ("classic", "meta")},
    }


def against_reference(trainers: Trainers, rounds: int) -> dict[str, dict[str, float]]:
    """How many times as many images a second pass in the reference's objective to its own way."""
    found = {}
    for name, shape in {"the default's network": {}, "ResNet-20": RESNET_20}.items():
        ours = shape | RANDOM_TRIPLETS | {"reptile.inner_steps": STEPS_APART}
        contenders = {
            # In a process of its own: this one's allocator is set for this project's trainings.
            "theirs": apart(partial(trainers.reference_way, STEPS_APART, **shape)),
            "ours": trainers.meta(STEPS_APART, **ours),
        }
        seconds = side_by_side(contenders, rounds)
        found[name] = spread(seconds["theirs"] / seconds["ours"])
    return found
