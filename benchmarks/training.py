"""What a training step costs: against a bare loop, against the reference's way, and as sizes grow."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch._dynamo
import torch._inductor.config
from reference_way import BATCH, LEARNING_RATE, ReferenceLoop
from timing import Work, apart, ratio, side_by_side, spread
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from oneshot.data.dataset import Dataset, channel_statistics
from oneshot.data.images import ImageStore
from oneshot.data.sampling import ClassPool, random_stream
from oneshot.data.split import Split
from oneshot.evaluation.metrics import triplet_accuracy
from oneshot.evaluation.thresholds import seen_calibration_images
from oneshot.hardware.device import set_up
from oneshot.model.embedding import embed
from oneshot.model.network import SiameseNetwork, new_network
from oneshot.params import Params
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
COMPILED = {"hardware.compile": True}
LEARNING_STEPS = 200  # of 384 images, in the comparison at equal learning


class Trainers:
    """Makes learners and trainings on the training images of a split."""

    def __init__(self, params: Params, dataset: Dataset, split: Split) -> None:
        self.params, self.dataset, self.split = params, dataset, split
        self.rows = [split.training[label] for label in split.seen]

    def changed(self, changes: Mapping[str, Any]) -> Params:
        """The parameters with others, by their full names."""
        values = self.params.model_dump()
        for name, value in changes.items():
            group, _, key = name.rpartition(".")
            (values[group] if group else values)[key] = value
        return Params.model_validate(values)

    def learner(self, params: Params) -> Learner:
        """A learner on the training images."""
        compute = set_up(params.hardware)
        torch.manual_seed(params.seed)
        statistics = channel_statistics(self.dataset.train_images[np.concatenate(self.rows)])
        store = ImageStore(self.dataset.train_images, compute.device, params.batch.augmentation)
        network = new_network(params.network, *statistics)
        return Learner(params, compute, network, store, ClassPool(self.rows)).train()

    def classic(self, steps: int, **changes: Any) -> Work:
        """That many steps of classic training."""
        params = self.changed(changes)
        training = ClassicTraining(params, self.learner(params))
        return lambda: finish([training.step(step) for step in range(steps)])

    def meta(self, steps: int, **changes: Any) -> Work:
        """Outer steps of Reptile of so many inner steps in all."""
        params = self.changed(changes)
        training = ReptileTraining(params, self.learner(params))
        outer = steps * params.batch.size // training.images_per_step
        assert outer, "fewer steps than an outer step has"
        return lambda: finish([training.step(step) for step in range(outer)])

    def bare(self, steps: int, **changes: Any) -> Work:
        """Forward, backward and optimizer on one resident batch, with the plainest loss, as torch comes."""
        params = self.changed(changes)
        learner, classic = self.learner(params), params.classic
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
                        embeddings = learner._embed(images)
                    loss = F.cross_entropy(embeddings @ proxies.T, labels)
                    loss.backward()
                    optimizer.step()
                return finish([loss])

        return run

    def reference_way(self, steps: int, **changes: Any) -> Work:
        """The reference's loop with the network that `changes` describe."""
        loop = self.reference_loop(**changes)
        tasks = loop.tasks()

        def run() -> float:
            with as_torch_comes():
                return finish([loop.step(next(tasks)) for _ in range(steps)])

        return run

    def reference_loop(self, **changes: Any) -> ReferenceLoop:
        """The reference's loop on the same images and the same network, in its own layout."""
        network = self.learner(self.changed(changes)).network.to(memory_format=torch.contiguous_format)
        return ReferenceLoop(Plain(network), self.dataset.train_images, self.rows)

    def held_out_accuracy(self, network: SiameseNetwork, learner: Learner) -> float:
        """Triplet accuracy on calibration images, batch-norm statistics measured on mixed batches."""
        rng = random_stream(0, "batch_norm")
        store = ImageStore(self.dataset.train_images, learner.compute.device)
        with learner.compute.forward_precision():
            update_bn((store.batch(learner.pool.mixed_batch(rng, 384)) for _ in range(10)), network)
            rows, labels = seen_calibration_images(self.split)
            vectors = embed(network, store.batch(rows))
        network.train()
        return float(np.mean(list(triplet_accuracy(vectors, labels).values())))


def reference_way(params: Params, dataset: Dataset, split: Split, steps: int, shape: dict[str, Any]) -> Work:
    """`Trainers.reference_way` from what a process can be given."""
    return Trainers(params, dataset, split).reference_way(steps, **shape)


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


def compiled_anew(work: Work) -> float:
    """Seconds that the first run of a compiled `work` takes beyond a second one, nothing taken from a cache."""
    torch._dynamo.reset()  # else it would compile for shapes of any size, since it has seen others before
    seconds = []
    with (
        patch.dict(os.environ, TORCHINDUCTOR_FORCE_DISABLE_CACHES="1"),
        torch._inductor.config.patch(force_disable_caches=True),
    ):
        for _ in range(2):
            began = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - began)
    return seconds[0] - seconds[1]


def against_bare(trainers: Trainers, rounds: int, steps: int = 20) -> dict[str, Any]:
    """The trainers' step beside a bare loop of the same network, batch and precision."""
    contenders = {"bare loop": trainers.bare, "classic": trainers.classic, "meta": trainers.meta}
    seconds = side_by_side({name: make(steps) for name, make in contenders.items()}, rounds)
    size = trainers.params.batch.size
    return {
        "batch_size": size,
        "milliseconds": {name: spread(1000 * values / steps) for name, values in seconds.items()},
        "images_per_second": {name: spread(size * steps / values) for name, values in seconds.items()},
        "to_bare_loop": {name: ratio(seconds[name], seconds["bare loop"]) for name in ("classic", "meta")},
    }


def against_reference(trainers: Trainers, rounds: int, shape: dict[str, Any], steps: int = 4) -> dict[str, Any]:
    """Images a second of the reference's objective, its way and this project's, eager and compiled."""
    ours = shape | RANDOM_TRIPLETS | {"reptile.inner_steps": steps}
    contenders = {
        # In a process of its own: this one's allocator is set for this project's trainings.
        "reference's way": apart(reference_way, trainers.params, trainers.dataset, trainers.split, steps, shape),
        "eager": trainers.meta(steps, **ours),
        "compiled": trainers.meta(steps, **ours | COMPILED),
    }
    once = compiled_anew(contenders["compiled"])
    seconds = side_by_side(contenders, rounds)
    return {
        "images_per_second": {name: spread(3 * BATCH * steps / values) for name, values in seconds.items()},
        "faster_than_reference": {
            way: ratio(seconds["reference's way"], seconds[way]) for way in ("eager", "compiled")
        },
        "seconds_to_compile": round(once, 1),
    }


def equal_learning(trainers: Trainers) -> dict[str, Any]:
    """The same objective, network, tasks and number of steps: what each way has learnt, and in what time."""
    loop = trainers.reference_loop()
    images = LEARNING_STEPS * 3 * BATCH
    params = trainers.changed(RANDOM_TRIPLETS | {"reptile.inner_steps": 1, "image_budget": images})
    learner = trainers.learner(params)
    training = ReptileTraining(params, learner)

    def ours(number: int) -> torch.Tensor:
        return training.inner_loop(number, 0)

    def theirs(number: int) -> torch.Tensor:
        (task,) = learner.pool.draw_classes(random_stream(params.seed, "meta", number, 0), 1)  # the same draw
        with as_torch_comes():
            return loop.step(int(task))

    networks = {"reference's way": (theirs, loop.network.network), "this project's way": (ours, learner.network)}
    found: dict[str, Any] = {"steps": LEARNING_STEPS, "images": images}
    for way, (step, network) in networks.items():
        assert isinstance(network, SiameseNetwork)
        began = time.perf_counter()
        finish([step(number) for number in range(LEARNING_STEPS)])
        seconds = time.perf_counter() - began
        accuracy = trainers.held_out_accuracy(network, learner)
        found[way] = {"seconds": round(seconds, 1), "heldout_triplet_accuracy": round(accuracy, 4)}
    return found


def compiling(trainers: Trainers, rounds: int, steps: int = 20) -> dict[str, Any]:
    """The default's step, eager and compiled, and how many images a training must have for compiling to pay."""
    compiled = trainers.classic(steps, **COMPILED)
    once = compiled_anew(compiled)
    seconds = side_by_side({"eager": trainers.classic(steps), "compiled": compiled}, rounds)
    saved = float(np.median(seconds["eager"] - seconds["compiled"])) / steps
    size = trainers.params.batch.size
    return {
        "images_per_second": {name: spread(size * steps / values) for name, values in seconds.items()},
        "faster": ratio(seconds["eager"], seconds["compiled"]),
        "seconds_to_compile": round(once, 1),
        "pays_after_images": round(once / saved) * size if saved > 0 else None,
    }


def scaling(trainers: Trainers, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Microseconds an image as one size changes: those of a table take turns."""
    images = 1920
    steps = images // trainers.params.batch.size

    def table(sizes: Iterable[int], make: Callable[[int], Work]) -> list[dict[str, Any]]:
        seconds = side_by_side({str(size): make(size) for size in sizes}, rounds)
        return [{"value": int(n), "microseconds_per_image": spread(1e6 * of / images)} for n, of in seconds.items()]

    def of_share(share: float) -> Trainers:
        rows = [rows[: int(share * len(rows))] for rows in trainers.rows]
        smaller = copy(trainers)
        smaller.dataset = replace(trainers.dataset, train_images=trainers.dataset.train_images[np.concatenate(rows)])
        ends = np.cumsum([len(of_class) for of_class in rows])
        smaller.rows = np.split(np.arange(ends[-1]), ends[:-1])
        return smaller

    few: dict[str, Any] = {"classic.batch_classes": 8, "reptile.task_classes": 8}
    five = {"reptile.inner_steps": 5}
    shares = {sum(map(len, smaller.rows)): smaller for smaller in map(of_share, (0.1, 0.5, 1.0))}
    return {
        "batch_size": table(
            (32, 64, 128, 384, 640), lambda n: trainers.classic(images // n, **few, **{"batch.size": n})
        ),
        "blocks_per_stage": table((1, 2, 3), lambda n: trainers.classic(steps, **{"network.blocks": n})),
        "inner_steps": table((1, 3, 5, 15), lambda n: trainers.meta(steps, **{"reptile.inner_steps": n})),
        "task_classes": table((2, 8, 32, 64), lambda n: trainers.meta(steps, **five | {"reptile.task_classes": n})),
        "data_set_size": table(shares, lambda n: shares[n].classic(steps)),
    }
