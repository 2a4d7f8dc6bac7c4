"""Who sees what: classes that training sees and does not see, and what each training image may be used for.

No content of a test image, of an unseen or validation class, or of a calibration image reaches training.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from oneshot.common.errors import UserError
from oneshot.common.files import read_json, write_text
from oneshot.common.params import Group, Int, Seed, StageParams, Two
from oneshot.common.schema import shown
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

_ABOUT = "Numbers are rows of data/dataset/train_images.npy; test images are used as they are. One class a line."


class SplitParams(Group):
    """The group `split`."""

    unseen: Literal["last", "random", "cifar_fs"]
    unseen_classes: Two
    validation_classes: Annotated[Int, Field(ge=0, le=10**6)]
    calibration_images: Two

    def mistakes(self, params: Any) -> Iterator[tuple[str, str]]:
        """See `Group`."""
        classes, images = params.classes, params.training_images
        if self.unseen == "cifar_fs":
            if params.dataset != "cifar100":
                yield "unseen", f"needs dataset cifar100, not {params.dataset}"
            for key, needed in (
                ("unseen_classes", len(CIFAR_FS_UNSEEN)),
                ("validation_classes", len(CIFAR_FS_VALIDATION)),
            ):
                if getattr(self, key) != needed:
                    yield key, f"must be {needed} with split.unseen cifar_fs"
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
    """What the stage `split_tasks` reads."""

    seed: Seed
    split: SplitParams


@dataclass(frozen=True)
class Split:
    """Which classes and training images are used for what.

    Args:
        seen, validation, unseen: labels, ascending; together all labels, each once.
        training: label -> rows (n,) int64 of the training images to train on; seen classes.
        calibration: label -> rows set aside to choose thresholds on; seen and validation classes.
        support: label -> rows to take support sets from, never trained on; validation and unseen classes.
        dropped: "test", "unseen" or "validation" -> for each training image left out as a copy of an image of
            those, a sentence for people.

    Rows are ascending, and no row occurs twice.
    """

    seen: list[int]
    validation: list[int]
    unseen: list[int]
    training: dict[int, np.ndarray]
    calibration: dict[int, np.ndarray]
    support: dict[int, np.ndarray]
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


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


Number = Annotated[int, Field(ge=0, lt=2**31)]


class _Class(_Model):
    label: Number
    name: str
    group: Literal["seen", "validation", "unseen"]
    training: list[Number] | None = None
    calibration: list[Number] | None = None
    support: list[Number] | None = None


class _File(_Model):
    about: str
    counts: dict[str, Number]
    dropped_copies_of: dict[Annotated[str, Field(pattern="^(test|unseen|validation)$")], list[str]]
    classes: Annotated[list[_Class], Field(min_length=1)]


def make_split(dataset: Dataset, params: SplitStage) -> Split:
    """Split the classes, leave out training images that would leak, set calibration images aside.

    Raises:
        UserError: more classes are asked for than there are, or a class has too few images.
    """
    seen, validation, unseen = _split_classes(dataset.class_names, params.split, params.seed)
    contents = _contents([*dataset.test_images, *dataset.train_images])
    test_contents, train_contents = np.split(contents, [len(dataset.test_images)])
    rows = {label: np.flatnonzero(dataset.train_labels == label) for label in seen + validation + unseen}
    groups = {"unseen": unseen, "validation": validation, "seen": seen}
    rows, dropped = _drop_copies(dataset, groups, rows, test_contents, train_contents)

    # A calibration image must not be known from training by a copy, nor a pair be one image twice.
    used = np.concatenate(list(rows.values()))
    single = np.bincount(train_contents[used], minlength=len(contents))[train_contents] == 1

    training, calibration, support = {}, {}, {}
    wanted = params.split.calibration_images
    for label in sorted(rows):
        rest = rows[label]
        if label not in unseen:
            candidates = rest[single[rest]]
            _require(dataset, label, "to calibrate on (split.calibration_images)", len(candidates), wanted)
            rng = random_stream(params.seed, "calibration", label)
            calibration[label] = np.sort(rng.choice(candidates, wanted, replace=False))
            rest = np.setdiff1d(rest, calibration[label])
        if label in seen:
            _require(dataset, label, "to train on", len(rest), TRAINING_IMAGES)
            training[label] = rest
        else:
            _require(dataset, label, "to take support sets from", len(rest), SUPPORT_IMAGES)
            support[label] = rest
        _require(dataset, label, "to test on", int((dataset.test_labels == label).sum()), TEST_IMAGES)
    return Split(seen, validation, unseen, training, calibration, support, dropped)


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
    """Read what `save_split` wrote.

    Raises:
        UserError: the file is missing, or is not such a file: it names what is wrong.
    """
    try:
        file = _File.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        found = shown(first["input"])
        raise _damaged(path, f"{where[1:] or 'content'}: {first['msg']}, found {found}") from None
    groups: dict[str, list[int]] = {group: [] for group in _LISTS}
    lists: dict[str, dict[int, np.ndarray]] = {"training": {}, "calibration": {}, "support": {}}
    for record in file.classes:
        groups[record.group].append(record.label)
        given = record.model_dump(include=set(lists), exclude_none=True)
        if set(given) != set(_LISTS[record.group]):
            must = " and ".join(_LISTS[record.group])
            raise _damaged(path, f"class {record.label}: found {' and '.join(given)}, group {record.group} has {must}")
        for name, rows in given.items():
            lists[name][record.label] = np.array(rows, dtype=np.int64)
    if sorted(label for labels in groups.values() for label in labels) != list(range(len(file.classes))):
        raise _damaged(path, f"classes: labels must be 0 to {len(file.classes) - 1}, each once")
    every = [rows for of_class in lists.values() for rows in of_class.values()]
    if any((np.diff(rows) <= 0).any() for rows in every):
        raise _damaged(path, "classes: each list of rows must ascend")
    rows, times = np.unique(np.concatenate(every), return_counts=True)
    if (times > 1).any():
        raise _damaged(path, f"classes: row {rows[times > 1][0]} occurs in two lists, must be in one")
    seen, validation, unseen = (sorted(groups[group]) for group in _LISTS)
    training, calibration, support = lists.values()
    split = Split(seen, validation, unseen, training, calibration, support, file.dropped_copies_of)
    if file.counts != split.counts():
        raise _damaged(path, f"counts: found {file.counts}, the lists give {split.counts()}")
    return split


def _split_classes(names: list[str], params: SplitParams, seed: int) -> tuple[list[int], list[int], list[int]]:
    """Labels of the seen, validation and unseen classes. The unseen ones do not depend on validation_classes."""
    held_out = params.unseen_classes + params.validation_classes
    if held_out > len(names) - 2:
        raise UserError(
            f"split.unseen_classes + validation_classes: found {held_out}; the data set has {len(names)} classes: "
            f"at most {len(names) - 2}"
        )
    order = np.arange(len(names))[::-1]
    if params.unseen == "random":
        order = random_stream(seed, "classes").permutation(len(names))
    elif params.unseen == "cifar_fs":
        first = [names.index(name) for name in CIFAR_FS_UNSEEN + CIFAR_FS_VALIDATION]
        order = np.array([*first, *(label for label in range(len(names)) if label not in first)])
    parts = np.split(order, [params.unseen_classes, held_out])
    unseen, validation, seen = (sorted(part.tolist()) for part in parts)
    return seen, validation, unseen


def _contents(images: list[np.ndarray]) -> np.ndarray:
    """Numbers (N,) int64 of the images' contents: equal where all bytes are equal."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(image.tobytes(), len(numbers)) for image in images], dtype=np.int64)


def _drop_copies(
    dataset: Dataset, groups: dict[str, list[int]], rows: dict[int, np.ndarray], test: np.ndarray, train: np.ndarray
) -> tuple[dict[int, np.ndarray], dict[str, list[str]]]:
    """Leave out copies: each of `groups` in turn keeps no copy of a test image or of an earlier group's image.

    Args:
        groups: name -> labels, those to be protected most first.
        rows: label -> rows of its training images.
        test, train: the contents of all test and training images.

    Returns:
        The rows that are kept, and name of the group copied (or "test") -> a sentence for each row dropped.
    """

    def named(part: str, row: int) -> str:
        label = (dataset.test_labels if part == "test" else dataset.train_labels)[row]
        return f"{part} {row} ({dataset.class_names[label]})"

    first: dict[int, tuple[str, str, int]] = {}  # content -> where it is protected: group, part, row
    for row, content in enumerate(test.tolist()):
        first.setdefault(content, ("test", "test", row))
    kept = {}
    dropped: dict[str, list[str]] = {"test": [], **{group: [] for group in groups if group != "seen"}}
    for group, labels in groups.items():
        fresh: dict[int, tuple[str, str, int]] = {}
        for label in labels:
            copies = np.array([content in first for content in train[rows[label]].tolist()], dtype=bool)
            for row in rows[label][copies].tolist():
                copied, part, original = first[train[row]]
                dropped[copied].append(f"{named('train', row)} is a copy of {named(part, original)}")
            kept[label] = rows[label][~copies]
            for row in kept[label].tolist():
                fresh.setdefault(int(train[row]), (group, "train", row))
        first.update(fresh)  # only now: copies within a group stay
    return kept, dropped


def _require(dataset: Dataset, label: int, purpose: str, found: int, needed: int) -> None:
    if found < needed:
        raise UserError(
            f"class {label} ({dataset.class_names[label]}): {found} images {purpose}, at least {needed} are needed; "
            "lower split.calibration_images, or take a data set with more images"
        )


def _damaged(path: str | Path, reason: str) -> UserError:
    return UserError(" ".join(f"{path}: {reason}; remove it and run `dvc repro`".split()))
