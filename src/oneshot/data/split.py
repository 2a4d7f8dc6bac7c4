"""Who sees what: classes that training sees and does not see, and what each training image may be used for.

No content of a test image, of an unseen or validation class, or of a calibration image reaches training.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

import numpy as np
from pydantic import Field
from typing_extensions import TypedDict  # pydantic takes typing's from Python 3.12 on

from oneshot.common.errors import UserError
from oneshot.common.files import read_json, write_text
from oneshot.common.params import Count, Group, Int, Seed, StageParams, Two
from oneshot.data.dataset import Dataset
from oneshot.data.sampling import random_stream

TRAINING_IMAGES = 2  # the fewest of a seen class: a pair
SUPPORT_IMAGES = 5  # the fewest of a validation or unseen class: five_shot
TEST_IMAGES = 2  # the fewest of any class: a pair

# Which lists of rows a class of each group has.
_LISTS = {"seen": ("training", "calibration"), "validation": ("calibration", "support"), "unseen": ("support",)}

# CIFAR-FS (Bertinetto et al. 2019, "Meta-learning with differentiable closed-form solvers"); the rest is seen.
CIFAR_FS_UNSEEN = [
    "baby", "bed", "bicycle", "chimpanzee", "fox", "leopard", "man", "pickup_truck", "plain", "poppy", "rocket",
    "rose", "snail", "sweet_pepper", "table", "telephone", "wardrobe", "whale", "woman", "worm",
]  # fmt: skip
CIFAR_FS_VALIDATION = [
    "beaver", "beetle", "butterfly", "camel", "cattle", "crab", "crocodile", "flatfish", "lamp", "maple_tree",
    "motorcycle", "otter", "sea", "shark", "television", "tractor",
]  # fmt: skip

# fold_1 to fold_10: every class in turn, in an order that no seed changes.
Unseen = Literal[
    "last", "cifar_fs",
    "fold_1", "fold_2", "fold_3", "fold_4", "fold_5", "fold_6", "fold_7", "fold_8", "fold_9", "fold_10",
]  # fmt: skip

_ABOUT = "Numbers are rows of data/dataset/train_images.npy; test images are used as they are. One class a line."


class SplitParams(Group):
    """The group `split`."""

    unseen: Unseen
    unseen_classes: Two
    validation_classes: Annotated[Int, Field(ge=0, le=10**6)]
    calibration_images: Two

    @property
    def fold(self) -> int:
        """The number of the fold that is unseen; 0: it is none."""
        return int(self.unseen.removeprefix("fold_")) if self.unseen.startswith("fold_") else 0

    def mistakes(self, params: Any) -> Iterator[tuple[str, str]]:
        """See `Group`."""
        classes, images = params.classes, params.training_images
        if self.unseen == "cifar_fs":
            if params.dataset != "cifar100":
                yield "unseen", f"needs dataset cifar100, not {params.dataset}"
            published = {"unseen_classes": len(CIFAR_FS_UNSEEN), "validation_classes": len(CIFAR_FS_VALIDATION)}
            for key, needed in published.items():
                if getattr(self, key) != needed:
                    yield key, f"must be {needed} with split.unseen cifar_fs"
        if self.fold * self.unseen_classes > classes:
            most = classes // self.unseen_classes
            yield "unseen", f"must be at most fold_{most}: {params.dataset} has {classes} classes"
        if self.validation_classes == 1:
            yield "validation_classes", "must be 0, or at least 2 so that they can be told apart"
        if self.unseen_classes > classes - 2:
            yield "unseen_classes", f"{params.dataset} has {classes} classes: at most {classes - 2}"
        if params.seen_classes < 2:
            most = classes - self.unseen_classes - 2
            yield "validation_classes", f"with {self.unseen_classes} unseen classes at most {most} of {classes} remain"
        if self.calibration_images > images - TRAINING_IMAGES:
            yield "calibration_images", f"must be at most {images - TRAINING_IMAGES} for {params.dataset}"


class SplitStage(StageParams):
    """What decides a split."""

    seed: Seed
    split: SplitParams


class Shots(StageParams):
    """Of the group `adaptation`: how many images of a class networks are to adapt on."""

    shots: list[Count]


class CheckedSplitStage(SplitStage):
    """What the stage `split_tasks` reads: a class must have the images that later stages need."""

    adaptation: Shots


@dataclass(frozen=True)
class Split:
    """Which classes and training images are used for what: labels, and rows (n,) int64 of images by their label.

    Both are ascending. Each label is in one list, and no row occurs twice.
    """

    seen: list[int]
    validation: list[int]
    unseen: list[int]
    training: dict[int, np.ndarray]  # to train on; seen classes
    calibration: dict[int, np.ndarray]  # set aside to choose thresholds on; seen and validation classes
    support: dict[int, np.ndarray]  # to take support sets from, never trained on; validation and unseen classes
    # "test", "unseen" or "validation" -> for each training image left out as a copy of an image of those, a sentence.
    dropped: dict[str, list[str]] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """How many classes and images are used for what."""
        return {
            "seen_classes": len(self.seen),
            "validation_classes": len(self.validation),
            "unseen_classes": len(self.unseen),
            "training_images": sum(map(len, self.training.values())),
            "calibration_images": sum(map(len, self.calibration.values())),
            "support_images": sum(map(len, self.support.values())),
            **{f"dropped_copies_of_{kind}": len(sentences) for kind, sentences in self.dropped.items()},
        }


Row = Annotated[int, Field(ge=0, lt=2**31)]


class _Class(TypedDict):
    label: Row
    group: Literal["seen", "validation", "unseen"]
    training: NotRequired[list[Row]]
    calibration: NotRequired[list[Row]]
    support: NotRequired[list[Row]]


class _File(TypedDict):
    dropped_copies_of: dict[str, list[str]]
    classes: list[_Class]


def make_split(dataset: Dataset, params: SplitStage, shots: int = 0) -> Split:
    """Split the classes, leave out training images that would leak, set calibration images aside.

    A UserError tells that more images are asked for than a class has, be it to calibrate on, or as many as `shots` to
    adapt on; with the number that all classes have.
    """
    seen, validation, unseen = _split_classes(dataset.class_names, params.split)
    test_contents, train_contents = _contents(dataset)
    groups = {"unseen": unseen, "validation": validation, "seen": seen}
    rows, dropped = _drop_copies(dataset, groups, test_contents, train_contents)

    # A calibration image must not be known from training by a copy, nor a pair be one image twice.
    used = np.concatenate(list(rows.values()))
    single = np.bincount(train_contents[used], minlength=train_contents.max() + 1)[train_contents] == 1
    candidates = {label: rows[label][single[rows[label]]] for label in seen + validation}

    wanted, spare = params.split.calibration_images, {}
    for label, images in candidates.items():
        rest = len(rows[label]) - (TRAINING_IMAGES if label in seen else SUPPORT_IMAGES)
        spare[label] = max(0, min(len(images), rest))
    names = dataset.class_names
    tests = {label: int((dataset.test_labels == label).sum()) for label in rows}
    supports = {label: len(rows[label]) for label in unseen}
    _require(names, tests, TEST_IMAGES, "test images: found {found}; must be at least {needed}")
    _require(names, supports, SUPPORT_IMAGES, "support images: found {found}; must be at least {needed}")
    _require(names, spare, 2, "images to calibrate on: found {found}; must be at least {needed}")
    _require(names, spare, wanted, "split.calibration_images: found {needed}; must be at most {found}")

    split = Split(seen, validation, unseen, {}, {}, {}, dropped)
    for label in sorted(rows):
        left = rows[label]
        if label in candidates:
            rng = random_stream(params.seed, "calibration", label)
            split.calibration[label] = np.sort(rng.choice(candidates[label], wanted, replace=False))
            left = np.setdiff1d(left, split.calibration[label])
        (split.training if label in seen else split.support)[label] = left
    adapting = {label: len(left) for label, left in (split.training | split.support).items()}
    _require(names, adapting, shots, "adaptation.shots: found {needed}; must be at most {found}")
    return split


def save_split(path: str | Path, split: Split, dataset: Dataset) -> None:
    """Write `split` as JSON for people and programs: what was left out and why, then one class a line."""
    head = {"about": _ABOUT, "counts": split.counts(), "dropped_copies_of": split.dropped}
    records = []
    for group, labels in (("seen", split.seen), ("validation", split.validation), ("unseen", split.unseen)):
        for label in labels:
            lists = {name: getattr(split, name)[label].tolist() for name in _LISTS[group]}
            record = {"label": label, "name": dataset.class_names[label], "group": group, **lists}
            records.append(json.dumps(record, ensure_ascii=False))
    opened = json.dumps(head, indent=2, ensure_ascii=False).removesuffix("\n}")
    write_text(path, opened + ',\n  "classes": [\n    ' + ",\n    ".join(records) + "\n  ]\n}\n")


def load_split(path: str | Path) -> Split:
    """Read what `save_split` wrote; UserError names what is wrong with a file that is none."""
    file = read_json(path, _File)
    split = Split([], [], [], {}, {}, {}, file["dropped_copies_of"])
    for record in file["classes"]:
        getattr(split, record["group"]).append(record["label"])
        for name in set(record) & {"training", "calibration", "support"}:
            getattr(split, name)[record["label"]] = np.array(record[name], dtype=np.int64)
    return split


def _split_classes(names: list[str], params: SplitParams) -> tuple[list[int], list[int], list[int]]:
    """Labels of the seen, validation and unseen classes. The unseen ones do not depend on validation_classes."""
    order = np.arange(len(names))[::-1]
    if params.fold:
        order = np.roll(random_stream(0, "classes").permutation(len(names)), (1 - params.fold) * params.unseen_classes)
    elif params.unseen == "cifar_fs":
        first = [names.index(name) for name in CIFAR_FS_UNSEEN + CIFAR_FS_VALIDATION]
        order = np.array([*first, *(label for label in range(len(names)) if label not in first)])
    parts = np.split(order, [params.unseen_classes, params.unseen_classes + params.validation_classes])
    unseen, validation, seen = (sorted(part.tolist()) for part in parts)
    return seen, validation, unseen


def _contents(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (N,) int64 of the contents of test and training images: equal where all bytes are equal."""
    numbers: dict[bytes, int] = {}  # by checksums: the images may be larger than memory
    test, train = (
        np.array([numbers.setdefault(hashlib.sha256(image.tobytes()).digest(), len(numbers)) for image in images])
        for images in (dataset.test_images, dataset.train_images)
    )
    return test, train


def _drop_copies(
    dataset: Dataset, groups: dict[str, list[int]], test: np.ndarray, train: np.ndarray
) -> tuple[dict[int, np.ndarray], dict[str, list[str]]]:
    """Leave out copies: each of `groups` in turn keeps no copy of a test image or of an earlier group's image.

    Given are the labels of each group, those to be protected most first, and the contents of all images. Returned are
    the rows of each label that are kept, and, for each group copied (or "test"), a sentence for each row dropped.
    """

    def named(part: str, row: int) -> str:
        label = (dataset.test_labels if part == "test" else dataset.train_labels)[row]
        return f"{part} {row} ({dataset.class_names[label]})"

    first: dict[int, tuple[str, str, int]] = {}  # content -> where it is protected: group, part, row
    for row, content in enumerate(test.tolist()):
        first.setdefault(content, ("test", "test", row))
    kept: dict[int, list[int]] = {}
    dropped: dict[str, list[str]] = {"test": [], **{group: [] for group in groups if group != "seen"}}
    for group, labels in groups.items():
        fresh: dict[int, tuple[str, str, int]] = {}
        for label in labels:
            kept[label] = []
            for row in np.flatnonzero(dataset.train_labels == label).tolist():
                if train[row] in first:
                    copied, part, original = first[train[row]]
                    dropped[copied].append(f"{named('train', row)} is a copy of {named(part, original)}")
                else:
                    kept[label].append(row)
                    fresh.setdefault(train[row], (group, "train", row))
        first.update(fresh)  # only now: copies within a group stay
    return {label: np.array(rows, dtype=np.int64) for label, rows in kept.items()}, dropped


def _require(names: list[str], found: dict[int, int], needed: int, words: str) -> None:
    """Refuse where the class with the fewest images has too few; `words`: of {found} and {needed}."""
    label = min(found, key=found.__getitem__)
    if found[label] < needed:
        text = words.format(found=found[label], needed=needed)
        raise UserError(f"{text}: class {label} ({names[label]}) has no more, copies left out")
