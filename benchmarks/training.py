"""What a training step costs: against a bare loop, against the reference's way, and as sizes grow."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch._dynamo
import torch._inductor.config
from reference_way import BATCH, LEARNING_RATE, MARGIN, ReferenceLoop
from timing import Work, apart, ratio, side_by_side, spread
from torch import nn
from torch.nn import functional as F

from oneshot.classic import ClassicTraining
from oneshot.compute import set_up
from oneshot.dataset import Dataset
from oneshot.images import ImageStore
from oneshot.learner import Learner
from oneshot.metrics import triplet_accuracy
from oneshot.network import SiameseNetwork, channel_statistics, embed, estimate_batch_norm, new_network
from oneshot.params import Params
from oneshot.reptile import ReptileTraining
from oneshot.sampling import ClassPool, random_stream
from oneshot.split import Split
from oneshot.thresholds import seen_calibration_images

RESNET_20 = {
    "resnet_stem": 16, "resnet_widths": [16, 32, 64], "resnet_blocks": [3, 3, 3], "resnet_first_stride": 1,
    "embedding_norm": False,
}  # fmt: skip
# The reference's objective, in this project's way: one forward pass, augmented batches by index.
RANDOM_TRIPLETS = {
    "triplet_mining": "random", "triplet_soft_scale": 0.0, "triplet_margin": MARGIN, "identity_weight": 0.0,
    "task_classes": 1, "batch_size": 3 * BATCH, "inner_optimizer": "adam", "inner_learning_rate": LEARNING_RATE,
    "inner_momentum": 0.9, "weight_decay": 0.0, "augmentation": "none",
}  # fmt: skip
LEARNING_STEPS = 200  # of 384 images, in the comparison at equal learning


class Trainers:
    """Makes learners and trainings on the training images of a split."""

    def __init__(self, params: Params, dataset: Dataset, split: Split) -> None:
        self.params, self.dataset, self.split = params, dataset, split
        self.rows = [split.training[label] for label in split.seen]

    def learner(self, **changes: Any) -> Learner:
        """A learner with `changes` to the parameters."""
        params = Params.model_validate(self.params.model_dump() | changes)
        compute = set_up(params)
        torch.manual_seed(params.seed)
        network = new_network(params, *channel_statistics(self.dataset.train_images[np.concatenate(self.rows)]))
        store = ImageStore(self.dataset.train_images, compute.device, params.augmentation)
        learner = Learner(params, compute, network, store, ClassPool(self.rows))
        learner.train()
        return learner

    def classic(self, steps: int, **changes: Any) -> Work:
        """That many steps of classic training."""
        learner = self.learner(**changes)
        training = ClassicTraining(learner.params, learner)
        return lambda: finish([training.step(step) for step in range(steps)])

    def meta(self, steps: int, **changes: Any) -> Work:
        """Outer steps of Reptile of so many inner steps in all."""
        learner = self.learner(**changes)
        training = ReptileTraining(learner.params, learner)
        outer = steps // training.batches_per_step
        assert outer, "fewer steps than an outer step has"
        return lambda: finish([training.step(step) for step in range(outer)])

    def bare(self, steps: int, **changes: Any) -> Work:
        """Forward, backward and optimizer on one resident batch, with the plainest loss, as torch comes."""
        learner = self.learner(**changes)
        p = learner.params
        optimizer = learner.optimizer(p.classic_optimizer, p.classic_learning_rate, p.classic_momentum)
        rng = random_stream(0, "classic")
        (batch,) = learner.batches(rng, learner.pool.draw_classes(rng, p.classic_batch_classes), 1)
        images, labels = learner.store.batch(batch.images), torch.from_numpy(batch.labels)
        labels = labels.to(images.device)

        def run() -> float:
            with as_torch_comes():
                for _ in range(steps):
                    optimizer.zero_grad()
                    with learner.compute.forward_precision():
                        embeddings = learner._embed(images)
                    loss = F.cross_entropy(embeddings @ learner.proxies.T, labels)
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
        network = self.learner(**changes).network.to(memory_format=torch.contiguous_format)
        return ReferenceLoop(Plain(network), self.dataset.train_images, self.rows)

    def held_out_accuracy(self, network: SiameseNetwork, learner: Learner) -> float:
        """Triplet accuracy on calibration images, batch-norm statistics measured on mixed batches."""
        rng = random_stream(0, "batch_norm")
        store = ImageStore(self.dataset.train_images, learner.compute.device)
        with learner.compute.forward_precision():
            estimate_batch_norm(network, (store.batch(learner.pool.mixed_batch(rng, 384)) for _ in range(10)))
            rows, labels = seen_calibration_images(self.split)
            vectors = embed(network, store.batch(rows), views=1)
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
        features = self.network.backbone(images)
        return self.network.embedding_norm(features)


def finish(losses: list[torch.Tensor]) -> float:
    """Wait for the device: the last loss as a number."""
    return losses[-1].item()


@contextmanager
def as_torch_comes() -> Iterator[None]:
    """Without the deterministic algorithms that the project's trainings ask for."""
    asked, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(asked, warn_only=warn_only)


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
    contenders = {
        "bare loop": trainers.bare(steps),
        "classic": trainers.classic(steps),
        "meta": trainers.meta(steps),
    }
    seconds = side_by_side(contenders, rounds)
    size = trainers.params.batch_size
    return {
        "batch_size": size,
        "milliseconds": {name: spread(1000 * values / steps) for name, values in seconds.items()},
        "images_per_second": {name: spread(size * steps / values) for name, values in seconds.items()},
        "to_bare_loop": {name: ratio(seconds[name], seconds["bare loop"]) for name in ("classic", "meta")},
    }


def against_reference(trainers: Trainers, rounds: int, shape: dict[str, Any], steps: int = 4) -> dict[str, Any]:
    """Images a second of the reference's objective, its way and this project's, eager and compiled."""
    ours = shape | RANDOM_TRIPLETS | {"inner_steps": steps}
    contenders = {
        # In a process of its own: this one's allocator is set for this project's trainings.
        "reference's way": apart(reference_way, trainers.params, trainers.dataset, trainers.split, steps, shape),
        "eager": trainers.meta(steps, **ours),
    }
    contenders["compiled"] = trainers.meta(steps, **ours, compile=True)
    once = compiled_anew(contenders["compiled"])
    seconds = side_by_side(contenders, rounds)
    return {
        "images_per_second": {name: spread(3 * BATCH * steps / values) for name, values in seconds.items()},
        "faster_than_reference": {
            name: ratio(seconds["reference's way"], seconds[name]) for name in ("eager", "compiled")
        },
        "seconds_to_compile": round(once, 1),
    }


def equal_learning(trainers: Trainers) -> dict[str, Any]:
    """The same objective, network, tasks and number of steps: what each way has learnt, and in what time."""
    loop = trainers.reference_loop()
    learner = trainers.learner(**RANDOM_TRIPLETS, inner_steps=1)
    training = ReptileTraining(learner.params, learner)

    def ours(number: int) -> torch.Tensor:
        return training.inner_loop(number, 0)

    def theirs(number: int) -> torch.Tensor:
        same_draw = random_stream(learner.params.seed, "meta", number, 0)
        (task,) = learner.pool.draw_classes(same_draw, 1)
        with as_torch_comes():
            return loop.step(int(task))

    networks = {"reference's way": (theirs, loop.network.network), "this project's way": (ours, learner.network)}
    found: dict[str, Any] = {"steps": LEARNING_STEPS, "images": LEARNING_STEPS * 3 * BATCH}
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
    compiled = trainers.classic(steps, compile=True)
    once = compiled_anew(compiled)
    seconds = side_by_side({"eager": trainers.classic(steps), "compiled": compiled}, rounds)
    saved = float(np.median(seconds["eager"] - seconds["compiled"])) / steps
    size = trainers.params.batch_size
    return {
        "images_per_second": {name: spread(size * steps / values) for name, values in seconds.items()},
        "faster": ratio(seconds["eager"], seconds["compiled"]),
        "seconds_to_compile": round(once, 1),
        "pays_after_images": round(once / saved) * size if saved > 0 else None,
    }


def scaling(trainers: Trainers, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Microseconds an image as one size changes: those of a table take turns."""
    images = 1920

    def table(work: dict[Any, Work]) -> list[dict[str, Any]]:
        seconds = side_by_side({str(size): one for size, one in work.items()}, rounds)
        return [{"value": size, "microseconds_per_image": spread(1e6 * seconds[str(size)] / images)} for size in work]

    def classic(batch: int, **changes: Any) -> Work:
        return trainers.classic(images // batch, batch_size=batch, **changes)

    def of_share(share: float) -> Trainers:
        rows = [rows[: int(share * len(rows))] for rows in trainers.rows]
        kept = np.concatenate(rows)
        places = np.split(np.arange(len(kept)), np.cumsum([len(r) for r in rows])[:-1])
        dataset = replace(trainers.dataset, train_images=trainers.dataset.train_images[kept])
        smaller = Trainers(trainers.params, dataset, trainers.split)
        smaller.rows = places
        return smaller

    few = {"classic_batch_classes": 8, "task_classes": 8}
    shares = [of_share(share) for share in (0.1, 0.5, 1.0)]
    return {
        "batch_size": table({size: classic(size, **few) for size in (32, 64, 128, 384, 640)}),
        "blocks_per_stage": table({n: classic(128, resnet_blocks=[n, n, n]) for n in (1, 2, 3)}),
        "inner_steps": table({n: trainers.meta(15, inner_steps=n) for n in (1, 3, 5, 15)}),
        "task_classes": table({n: trainers.meta(15, task_classes=n, inner_steps=5) for n in (2, 8, 32, 64)}),
        "data_set_size": table({sum(map(len, s.rows)): s.classic(images // 128) for s in shares}),
    }
