"""The loop around both trainings: progress, training curve, checkpoints, resuming, and stopping in good order."""

from __future__ import annotations

import copy
import math
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from oneshot import processes
from oneshot.checkpoint import Checkpoint, fingerprint, only_one
from oneshot.compute import describe, keep_freed_memory, set_up
from oneshot.dataset import load_dataset
from oneshot.errors import UserError
from oneshot.files import write_json, write_table
from oneshot.images import ImageStore
from oneshot.learner import Learner
from oneshot.network import SiameseNetwork, channel_statistics, embed, estimate_batch_norm, new_network, save_model
from oneshot.params import Params
from oneshot.sampling import ClassPool, random_stream
from oneshot.split import load_split

CURVE_POINTS = 25
CURVE_TRIPLETS = 6000  # of calibration images; the accuracy's standard error is about half a point
CURVE_NORM_BATCHES, FINAL_NORM_BATCHES = 4, 40  # batches that batch-norm statistics are estimated on
# Parameters, by the start of their names, that no training uses: changing one does not start a run anew.
MEASURING = ("checkpoint_", "training", "threshold_", "target_", "fixed_", "evaluate_", "views", "episode_", "adapt_")


class Training(Protocol):
    """A training is a number of steps, each a function of the learner's and its own state and of its number."""

    name: str
    likely_cause: str
    reestimates_batch_norm: bool
    steps: int
    batches_per_step: int
    images_per_step: int

    def step(self, step: int) -> Tensor: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class TrainingFactory(Protocol):
    """Makes a training; `ClassicTraining` and `ReptileTraining` are such factories."""

    name: str
    ignores: tuple[str, ...]

    def __call__(self, params: Params, learner: Learner) -> Training: ...


def train(method: TrainingFactory, params: Params, data: Path, split_file: Path, output: Path) -> None:
    """Train on the seen classes and write `output`/model.pt, curve.tsv and record.json.

    Killed anywhere and run again, it goes on from its last checkpoint and writes the same bytes. Where `torchrun`
    started several processes, the first alone writes files.

    Raises:
        UserError: an input is missing, the loss is no longer a number, or another training is running.
    """
    # Killing DVC leaves its training alone; one started by hand (nohup) may outlive its shell.
    parent = os.getppid() if "DVC_STAGE" in os.environ else None
    compute = set_up(params)
    dataset, split = load_dataset(data), load_split(split_file)
    used = {key: value for key, value in params.model_dump().items() if not key.startswith(MEASURING + method.ignores)}
    settings = used | describe(compute) | {"method": method.name}
    inputs = [*sorted(data.iterdir()), split_file]
    if Path(params.pretrained_weights).is_file():
        inputs.append(Path(params.pretrained_weights))
    checkpoint = Checkpoint(f"train_{method.name}", fingerprint(settings, inputs))

    torch.manual_seed(params.seed)  # both trainings start from the same weights
    pool = ClassPool([split.training[label] for label in split.seen])
    mean, std = channel_statistics(dataset.train_images[np.concatenate(pool.images)])
    network = new_network(params, mean, std)
    held_out = {dataset.class_names[label] for label in split.validation + split.unseen}
    if known := held_out.intersection(network.classes_before):
        raise UserError(
            f"params.yaml: pretrained_weights: found {params.pretrained_weights!r}, trained on {min(known)}, which "
            "this split holds out; must be a model that has not seen the held-out classes"
        )
    keep_freed_memory()
    store = ImageStore(dataset.train_images, compute.device, params.augmentation)
    learner = Learner(params, compute, network, store, pool)
    training = method(params, learner)
    curve = Curve(training, learner, ClassPool([split.calibration[label] for label in split.seen]))

    with only_one(f"train_{method.name}") if processes.FIRST else nullcontext(), processes.connected(compute.device):
        _run(training, learner, curve, checkpoint, output / "curve.tsv", parent)
        if not processes.FIRST:
            return
        network = curve.finished_network(FINAL_NORM_BATCHES)
        about = {
            "method": method.name,
            "images": network.images_before + training.steps * training.images_per_step,
            "image_size": dataset.train_images.shape[1],
            "seen_classes": [dataset.class_names[label] for label in split.seen],
        }
        save_model(output / "model.pt", network, about)
        weights = sum(weight.numel() for weight in network.parameters())
        write_json(
            output / "record.json",
            {"method": method.name, "images": about["images"], "weights": weights, **describe(compute)},
        )
        checkpoint.remove()


class Curve:
    """The training curve: the mean loss, and the accuracy on triplets of images that training never sees."""

    def __init__(self, training: Training, learner: Learner, held_out: ClassPool) -> None:
        self.training, self.learner = training, learner
        self.rows: list[dict[str, float]] = []
        rng = random_stream(learner.params.seed, "batch_norm")
        everything = np.arange(len(held_out))
        (self.triplets,) = held_out.triplet_batches(rng, everything, 3 * CURVE_TRIPLETS, steps=1)

    def finished_network(self, norm_batches: int) -> SiameseNetwork:
        """A copy of the network as it would be handed out now."""
        network = copy.deepcopy(self.learner.network)
        if self.training.reestimates_batch_norm:
            learner, size = self.learner, self.learner.params.batch_size
            rng = random_stream(learner.params.seed, "batch_norm", 1)
            batches = (learner.store.augmented(learner.pool.mixed_batch(rng, size), rng) for _ in range(norm_batches))
            with learner.compute.forward_precision():
                estimate_batch_norm(network, batches)
        return network

    def add(self, step: int, loss: float) -> None:
        """Measure after `step` steps; `loss` is the mean since the last row."""
        network = self.finished_network(CURVE_NORM_BATCHES)
        images, inverse = np.unique(self.triplets.images, return_inverse=True)
        with self.learner.compute.forward_precision():
            vectors = embed(network, self.learner.store.batch(images), views=1)
        anchors, positives, negatives = vectors[torch.from_numpy(inverse)].chunk(3)
        right = (anchors * positives).sum(1) > (anchors * negatives).sum(1)
        self.rows.append(
            {
                "images": step * self.training.images_per_step,
                "loss": round(loss, 6),
                "heldout_triplet_accuracy": round(right.double().mean().item(), 6),
            }
        )


def _run(
    training: Training, learner: Learner, curve: Curve, checkpoint: Checkpoint, curve_file: Path, parent: int | None
) -> None:
    """Take all steps that are still to take, as long as process `parent`, if any, lives."""
    total = learner.store.images.new_zeros((), dtype=torch.float32)  # loss since the last row, without a sync
    first = counted = 0
    if state := processes.from_first(checkpoint.load() if processes.FIRST else None):
        learner.load_state_dict(state["learner"])
        training.load_state_dict(state["training"])
        curve.rows = state["rows"]
        first, counted = state["step"], state["counted"]
        total += state["total"]
        if processes.FIRST:
            print(f"going on from {checkpoint.path}: step {first} of {training.steps}", file=sys.stderr)

    def save(step: int) -> None:
        checkpoint.save(
            {
                "learner": learner.state_dict(),
                "training": training.state_dict(),
                "rows": curve.rows,
                "step": step,
                "counted": counted,
                "total": total,
            }
        )

    def mean_loss(step: int) -> float:
        value = total.item() / max(counted, 1)
        if not all(bool(weight.isfinite().all()) for weight in learner.weights()):
            value = math.nan  # the next loss would show it: a checkpoint too late
        if not math.isfinite(value):
            cause = training.likely_cause
            raise UserError(
                f"train_{training.name}: the loss is {value} within the last {counted} steps before step {step}; "
                f"{cause}: found {getattr(learner.params, cause)}, try a lower value"
                + (f" (last good state: {checkpoint.path})" if checkpoint.path.exists() else "")
            )
        return value

    rows_at = {math.ceil(training.steps * (i + 1) / CURVE_POINTS) for i in range(CURVE_POINTS)}
    interval = max(1, learner.params.checkpoint_steps // training.batches_per_step)
    learner.train()
    size = training.images_per_step
    with (
        _stop_requests(parent) as stopping,
        tqdm(
            total=training.steps * size,
            initial=first * size,
            unit="img",
            unit_scale=True,
            desc=training.name,
            mininterval=1,
            dynamic_ncols=True,
            disable=not processes.FIRST,
        ) as bar,
    ):
        for step in range(first + 1, training.steps + 1):
            total += training.step(step - 1)
            counted += 1
            bar.update(size)
            if not processes.FIRST:
                continue
            if step in rows_at:
                curve.add(step, mean_loss(step))
                write_table(curve_file, curve.rows)
                total.zero_()
                counted = 0
                bar.set_postfix(loss=curve.rows[-1]["loss"], triplet=curve.rows[-1]["heldout_triplet_accuracy"])
            if step % interval == 0 or stopping:
                mean_loss(step)
                save(step)
            if stopping:
                raise UserError(f"train_{training.name}: {stopping[0]} at step {step}; run again to go on from there")
    if processes.FIRST:
        write_table(curve_file, curve.rows)


@contextmanager
def _stop_requests(parent: int | None) -> Iterator[list[str]]:
    """A list that stays empty until the run should stop: Ctrl-C, SIGTERM, or the parent (DVC) is gone."""

    class Requests(list[str]):
        def __bool__(self) -> bool:
            if parent is not None and os.getppid() != parent:
                self.append("the program that started this training has ended")
            return len(self) > 0

    requests = Requests()
    previous = {}
    # Of several processes the first saves and ends, and torchrun then ends the others.
    for name in (signal.SIGINT, signal.SIGTERM) if processes.FIRST else (signal.SIGINT,):
        previous[name] = signal.signal(name, lambda number, _: requests.append(f"stopped by signal {number}"))
    try:
        yield requests
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
