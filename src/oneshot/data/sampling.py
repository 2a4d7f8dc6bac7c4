"""Which images a training step sees: tasks, and batches of anchors, positives and negatives.

Every draw is a pure function of the seed and of its place in the training, so a resumed run draws the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from oneshot.common.errors import UserError
from oneshot.common.params import Group, Int

Augmentation = Literal["none", "crop", "crop_flip", "crop_flip_cutout", "crop_flip_cutout_rotate", "elastic"]
ROTATED = 0.5  # chance that the first class drawn is a rotated one, where there are such

# One stream of random numbers for each purpose, so that no two purposes share draws. Zeros at the end of a place count
# for nothing in NumPy's seeds: no purpose may use both (..., x) and (..., x, 0).
STREAMS = {
    "classic": 1,  # step: the batch and its augmentation
    "meta": 2,  # outer step, task: classes, batches and augmentation of an inner loop
    "batch_norm": 3,  # images that statistics are estimated on; without a place, the training curve's triplets
    "adaptation": 4,  # classes that calibrate; 1, seen classes that are measured; 2, shots, draw: an episode's batches
    "supports": 5,  # class, shots, draw: support images of one class, and batches to adapt on
    "episodes": 6,  # shots, draw: supports of all classes; 0, ways, shots, episode: those of a few classes
    "open_set": 7,  # draw: classes that are enrolled, and their supports
    "classes": 101,  # in which fold a class is unseen
    "calibration": 102,  # class: images that are set aside
    "test_pictures": 103,  # class: pictures of a folder to test on
}


def random_stream(seed: int, purpose: str, *place: int) -> np.random.Generator:
    """The random numbers for one purpose at one place (step, task, draw, ...) of a run."""
    return np.random.default_rng((seed, STREAMS[purpose], *place))


class BatchParams(Group):
    """The group `batch`."""

    size: Annotated[Int, Field(ge=4, le=10**6)]
    augmentation: Augmentation
    forward_passes: Literal["joint", "separate"]

    @property
    def rotates(self) -> bool:
        """Whether rotated classes are further classes."""
        return self.augmentation == "crop_flip_cutout_rotate"

    def mistakes(self, params: Any) -> Iterator[tuple[str, str]]:
        """See `Group`."""
        if params.loss.mining == "random":
            if self.size % 3:
                yield "size", "must be a multiple of 3 with loss.mining random"
            if self.rotates:  # random triplets are of all classes alike
                yield "augmentation", "needs loss.mining all or hard"
        elif self.forward_passes == "separate":
            yield "forward_passes", "needs loss.mining random"


def classes_fit(count: int, params: Any) -> Iterator[str]:
    """What is allowed instead, where so many classes do not fit into a batch; `params`: all of params.yaml."""
    if count > params.seen_classes:
        yield f"must be at most the {params.seen_classes} seen classes"
    if params.loss.mining != "random":
        if count < 2:
            yield f"must be at least 2 with loss.mining {params.loss.mining}"
        if params.batch.size < 2 * count or params.batch.size % count:
            yield f"must divide batch.size {params.batch.size}, with 2 or more images of a class in each batch"


@dataclass(frozen=True)
class Batch:
    """Images of one step: `images` (B,) int64 rows of the training images, `labels` (B,) int64 positions of their
    classes in the pool. Losses take class after class with equally many each, or anchors, positives, negatives."""

    images: np.ndarray
    labels: np.ndarray


class ClassPool:
    """The images that may be drawn from, class by class.

    Args:
        images: for each class the rows (int64) of its images; position in this list is the class's label in batches.
        rotate: each class, turned by 1, 2 and 3 right angles, is three further classes (Liu, Chao & Lin 2020, "Task
            augmentation by rotating for meta-learning"). Their labels are its own + `upright` * right angles.
    """

    def __init__(self, images: list[np.ndarray], rotate: bool = False) -> None:
        self.upright, self.chances = len(images), None
        if rotate:
            shares = [1 - ROTATED, *[ROTATED / 3] * 3]
            images, self.chances = images * len(shares), np.repeat(shares, self.upright) / self.upright
        self.images = images
        self.every, self.sizes = np.concatenate(images), np.array([len(rows) for rows in images])
        self.starts = np.cumsum(self.sizes) - self.sizes

    def __len__(self) -> int:
        return len(self.images)

    def draw_classes(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """`count` different classes (count,).

        Raises:
            UserError: there are fewer.
        """
        if count > len(self):
            raise UserError(
                f"classic.batch_classes, reptile.task_classes: found {count}; must be at most {len(self)}, the "
                "classes to draw from"
            )
        return rng.choice(len(self), count, replace=False, p=self.chances)

    def random_batch(self, rng: np.random.Generator, size: int) -> Batch:
        """`size` random images, with replacement, in no order."""
        labels = np.repeat(np.arange(len(self)), self.sizes)
        chances = None if self.chances is None else (self.chances / self.sizes)[labels]
        places = rng.choice(len(self.every), size, p=chances)
        return Batch(self.every[places], labels[places])

    def pk_batches(self, rng: np.random.Generator, classes: np.ndarray, size: int, steps: int) -> list[Batch]:
        """`steps` P x K batches of `size` images: K of each of the P `classes`, class after class (Hermans 2017).

        Through the steps each class's images come in random order, none again before all came once.
        """
        each = size // len(classes)
        drawn = np.stack([_cycle(rng, self.images[c], steps * each).reshape(steps, each) for c in classes], axis=1)
        labels = np.repeat(classes, each)
        return [Batch(images.reshape(-1), labels) for images in drawn]

    def triplet_batches(self, rng: np.random.Generator, classes: np.ndarray, size: int, steps: int) -> list[Batch]:
        """`steps` batches of `size` images: a third anchors, as many positives, as many negatives.

        Each anchor is of a random class in `classes`, its positive another image of that class. Its negative is
        of another class: of `classes` where they are several, of the whole pool where it is a single one (the
        reference's task, a class against the rest). A class with a single image is its own positive: two
        augmentations form the pair.
        """
        third = size // 3
        rivals = np.arange(len(self)) if len(classes) == 1 else classes
        batches = []
        for _ in range(steps):
            anchor = rng.choice(classes, third)
            negative = rng.choice(rivals, third)
            while (clash := negative == anchor).any():
                negative[clash] = rng.choice(rivals, clash.sum())
            pairs = np.empty((2, third), dtype=np.int64)
            for c in np.unique(anchor):  # anchors and positives of a class come from one shuffled sequence
                mine = np.flatnonzero(anchor == c)
                pairs[:, mine] = _cycle(rng, self.images[c], 2 * len(mine)).reshape(2, len(mine))
                while len(self.images[c]) > 1 and (twin := mine[pairs[0, mine] == pairs[1, mine]]).size:
                    pairs[1, twin] = rng.choice(self.images[c], twin.size)
            others = self.every[self.starts[negative] + rng.integers(self.sizes[negative])]
            batches.append(Batch(np.concatenate([*pairs, others]), np.concatenate([anchor, anchor, negative])))
        return batches


def _cycle(rng: np.random.Generator, images: np.ndarray, count: int) -> np.ndarray:
    """`count` images in random order, none again before all came once."""
    turns = -(-count // len(images))
    return rng.permuted(np.tile(images, (turns, 1)), axis=1).reshape(-1)[:count]
