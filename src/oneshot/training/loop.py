"""The loop around both trainings: progress, training curve, checkpoints, resuming, and stopping in good order."""

from __future__ import annotations

import copy
import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import mean
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from oneshot.common.errors import UserError
from oneshot.common.files import write_json, write_table
from oneshot.common.lock import only_one
from oneshot.data.dataset import channel_statistics, load_dataset
from oneshot.data.images import ImageStore
from oneshot.data.sampling import ClassPool, random_stream
from oneshot.data.split import load_split
from oneshot.hardware import distributed
from oneshot.hardware.device import describe, keep_freed_memory, set_up
from oneshot.model.embedding import embed
from oneshot.model.model_file import save_model, start_from
from oneshot.model.network import SiameseNetwork, new_network
from oneshot.training.checkpoint import FOLDER, Checkpoint, fingerprint
from oneshot.training.learner import Learner, TrainingStage

CURVE_POINTS = 25
CURVE_TRIPLETS = 6000  # of calibration images; the accuracy's standard error is about half a point
CURVE_NORM_BATCHES, FINAL_NORM_BATCHES = 4, 40  # batches that batch-norm statistics are estimated on
FIRST_CHECKPOINT = 1  # seconds after which a run first saves its state
CHECKPOINT_COST = 0.01  # share of the time that checkpoints may take; it sets how much work a kill can cost
LONGEST_WAIT = 60  # seconds between checkpoints, at most
SEEDS_APART = 10**6  # of the members of an ensemble: farther than the seeds that people give

Rows = list[dict[str, float]]  # of a training curve


class Training(Protocol):
    """A number of steps, each a function of its number and of the states of learner and optimizer."""

    name: str
    where_to_look: str  # the parameter to mend where the loss stops being a number
    reestimates_batch_norm: bool
    steps: int
    images_per_step: int
    optimizer: torch.optim.Optimizer

    def __init__(self, params: Any, learner: Learner) -> None: ...
    def step(self, step: int) -> Tensor: ...


def train(method: type[Training], params: TrainingStage, data: Path, split_file: Path, output: Path) -> None:
    """Train on the seen classes and write `output`/model.safetensors, curve.tsv and record.json.

    The members of an ensemble are trained one after another.

    Killed anywhere and run again, it goes on from its last checkpoint and writes the same bytes. Where `torchrun`
    started several processes, the main one alone writes files.

    Raises:
        UserError: an input is missing, the loss is no longer a number, or another training is running.
    """
    compute = set_up(params.hardware)
    dataset, split = load_dataset(data), load_split(split_file)
    start = params.network.start_from
    inputs = [*sorted(data.iterdir()), split_file, *([] if start == "none" else [Path(start)])]
    keep_freed_memory()
    store = ImageStore(dataset.train_images, compute.device, params.batch.augmentation)
    training, held_back = ([use[label] for label in split.seen] for use in (split.training, split.calibration))
    pool, curve_pool = ClassPool(training, params.batch.rotates), ClassPool(held_back)
    statistics = channel_statistics(dataset.train_images, np.concatenate(training))
    seen, held_out = (
        [dataset.class_names[i] for i in labels] for labels in (split.seen, split.validation + split.unseen)
    )

    def begin(number: int) -> Run:
        own = member(params, number)
        torch.manual_seed(own.seed)  # both trainings start from the same weights
        network = new_network(own.network, *statistics)
        before = start_from(network, start, held_out)
        learner = Learner(own, compute, network, store, pool)
        training = method(own, learner)
        settings = {"params": own.model_dump(), "machine": describe(compute), "method": method.name}
        settings["images"] = store.images.device.type
        checkpoint = Checkpoint(f"train_{method.name}", fingerprint(settings, inputs))
        about = {
            "method": method.name,
            "images": before["images"] + training.steps * training.images_per_step,
            "image_size": dataset.train_images.shape[1],
            "seen_classes": list(dict.fromkeys([*before["seen_classes"], *seen])),
        }
        return Run(training, learner, Curve(training, learner, curve_pool), checkpoint, about)

    count, networks, curves, checkpoints = params.network.members, [], [], []
    alone = only_one(FOLDER / f"train_{method.name}.lock") if distributed.IS_MAIN else nullcontext()
    with alone, distributed.connected(compute.device):
        for number in range(count):
            run = begin(number)
            run.finish(method.name if count == 1 else f"{method.name} {number + 1} of {count}")
            if distributed.IS_MAIN:
                if number + 1 < count:
                    run.save()  # for the ensemble
                networks.append(run.curve.finished_network(FINAL_NORM_BATCHES))
                curves.append(run.curve.rows)
                checkpoints.append(run.checkpoint)
        if distributed.IS_MAIN:
            write_trained(output, networks, curves, run.about, describe(compute))
            for checkpoint in checkpoints:
                checkpoint.remove()


def write_trained(
    output: Path, networks: list[SiameseNetwork], curves: list[Rows], about: dict[str, Any], machine: dict[str, Any]
) -> None:
    """Write what `train` leaves of the members of an ensemble, put side by side."""
    write_table(output / "curve.tsv", mean_curve(curves))
    network = networks[0]
    network.put_beside(networks[1:])
    save_model(output / "model.safetensors", network, about)
    weights = sum(weight.numel() for weight in network.parameters())
    record = {"method": about["method"], "images": about["images"], "weights": weights, **machine}
    write_json(output / "record.json", record)


def member(params: TrainingStage, number: int) -> TrainingStage:
    """What a member of an ensemble is trained with: as if alone, by a seed of its own."""
    network = params.network.model_copy(update={"members": 1})
    return params.model_copy(update={"seed": params.seed + number * SEEDS_APART, "network": network})


class Curve:
    """The training curve: the mean loss, and the accuracy on triplets of images that training never sees."""

    def __init__(self, training: Training, learner: Learner, held_out: ClassPool) -> None:
        self.training, self.learner = training, learner
        self.rows: Rows = []
        rng = random_stream(learner.params.seed, "batch_norm")
        everything = np.arange(len(held_out))
        (self.triplets,) = held_out.triplet_batches(rng, everything, 3 * CURVE_TRIPLETS, steps=1)

    def finished_network(self, norm_batches: int) -> SiameseNetwork:
        """A copy of the network as it would be handed out now.

        Weights that were interpolated have no batch-norm statistics of their own, and those of the last task describe
        that task alone: so they are measured again on batches of mixed classes.
        """
        network = copy.deepcopy(self.learner.network)
        if self.training.reestimates_batch_norm:
            self.learner.reestimate(network, norm_batches)
        return network

    def add(self, step: int, loss: float) -> None:
        """Measure after `step` steps; `loss` is the mean since the last row."""
        network = self.finished_network(CURVE_NORM_BATCHES)
        images, inverse = np.unique(self.triplets.images, return_inverse=True)
        with self.learner.compute.forward_precision():
            vectors = embed(network, self.learner.store.batch(images))
        anchors, positives, negatives = vectors[torch.from_numpy(inverse)].chunk(3)
        right = (anchors * positives).sum(1) > (anchors * negatives).sum(1)
        self.rows.append(
            {
                "images": step * self.training.images_per_step,
                "loss": round(loss, 6),
                "heldout_triplet_accuracy": round(right.double().mean().item(), 6),
            }
        )


def mean_curve(curves: list[Rows]) -> Rows:
    """The mean of members' training curves, row by row; no curve of the ensemble."""
    return [{name: round(mean(row[name] for row in rows), 6) for name in rows[0]} for rows in zip(*curves, strict=True)]


class Run:
    """A training on its way: which step comes next, and the loss since the last point of the curve."""

    def __init__(
        self, training: Training, learner: Learner, curve: Curve, checkpoint: Checkpoint, about: dict[str, Any]
    ) -> None:
        self.training, self.learner, self.curve, self.checkpoint = training, learner, curve, checkpoint
        self.about = about  # what the file of its network says of it
        self.done = self.counted = 0
        self.total = torch.zeros((), device=learner.compute.device)  # stays there: no waiting

    def finish(self, title: str) -> None:
        """Take all steps that are still to take, under a progress bar of this title."""
        training, size = self.training, self.training.images_per_step
        if state := distributed.broadcast(self.checkpoint.load() if distributed.IS_MAIN else None):
            self.load_state_dict(state)
            if distributed.IS_MAIN:
                where = f"step {self.done} of {training.steps}"
                print(f"going on from {self.checkpoint.path}: {where}", file=sys.stderr)
        rows_at = {math.ceil(training.steps * (i + 1) / CURVE_POINTS) for i in range(CURVE_POINTS)}
        bar = tqdm(
            total=training.steps * size, initial=self.done * size, unit="img", unit_scale=True, desc=title,
            mininterval=1, dynamic_ncols=True, disable=not distributed.IS_MAIN,
        )  # fmt: skip
        save_at = time.monotonic() + FIRST_CHECKPOINT
        self.learner.train()
        with _stop_requests() as stopping, bar:
            while self.done < training.steps:
                self.total += training.step(self.done)
                self.done += 1
                self.counted += 1
                bar.update(size)
                if not distributed.IS_MAIN:
                    continue
                if self.done in rows_at:
                    self.add_to_curve()
                    row = self.curve.rows[-1]
                    bar.set_postfix(loss=row["loss"], triplet=row["heldout_triplet_accuracy"])
                if time.monotonic() > save_at or stopping:
                    began = time.monotonic()
                    self.save()
                    now = time.monotonic()
                    save_at = now + min((now - began) / CHECKPOINT_COST, LONGEST_WAIT)
                if stopping:
                    why = f"{stopping[0]} at step {self.done}"
                    raise UserError(f"train_{training.name}: {why}; run again to go on from there")

    def save(self) -> None:
        """Write a checkpoint, unless the loss is no longer a number, which raises a UserError."""
        self.mean_loss()
        self.checkpoint.save(self.state_dict())

    def add_to_curve(self) -> None:
        """Measure, and begin the mean loss anew."""
        self.curve.add(self.done, self.mean_loss())
        self.total.zero_()
        self.counted = 0

    def mean_loss(self) -> float:
        """The mean loss since the last point of the curve.

        Raises:
            UserError: it, or a weight, is no longer a number.
        """
        value = self.total.item() / max(self.counted, 1)
        if not all(bool(weight.isfinite().all()) for weight in self.learner.weights()):
            value = math.nan  # the next loss would show it: a checkpoint too late
        if not math.isfinite(value):
            last = f" (last good state: {self.checkpoint.path})" if self.checkpoint.path.exists() else ""
            raise UserError(
                f"train_{self.training.name}: the loss is {value} within the last {self.counted} steps before step "
                f"{self.done}; {self.training.where_to_look}, try a lower value{last}"
            )
        return value

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {
            "learner": self.learner.state_dict(),
            "optimizer": self.training.optimizer.state_dict(),
            "rows": self.curve.rows,
            "done": self.done,
            "counted": self.counted,
            "total": self.total,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
        self.learner.load_state_dict(state["learner"])
        self.training.optimizer.load_state_dict(state["optimizer"])
        self.curve.rows = state["rows"]
        self.done, self.counted = state["done"], state["counted"]
        self.total.copy_(state["total"])


@contextmanager
def _stop_requests() -> Iterator[list[str]]:
    """A list that stays empty until the run should stop: Ctrl-C, or SIGTERM, which `run_stage` sends too."""
    requests: list[str] = []
    previous = {}
    # Of several processes the main one saves and ends, and torchrun then ends the others.
    for name in (signal.SIGINT, signal.SIGTERM) if distributed.IS_MAIN else (signal.SIGINT,):
        previous[name] = signal.signal(name, lambda number, _: requests.append(f"stopped by signal {number}"))
    try:
        yield requests
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
