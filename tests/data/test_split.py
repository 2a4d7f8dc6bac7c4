from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import numpy as np
import pytest
from helpers import ANY_JSON, damaged, fuzz
from hypothesis import strategies as st

from oneshot.common.errors import UserError
from oneshot.data.dataset import Dataset
from oneshot.data.split import Split, SplitParams, SplitStage, load_split, make_split, save_split

DEFAULTS = {"unseen_classes": 2, "unseen": "last", "validation_classes": 0, "calibration_images": 3}


def params(seed: int = 1, **changes: Any) -> SplitStage:
    return SplitStage(seed=seed, split=SplitParams(**(DEFAULTS | changes)))


def lists(split: Split) -> dict[str, dict[int, list[int]]]:
    names = ("training", "calibration", "support")
    return {name: {label: rows.tolist() for label, rows in getattr(split, name).items()} for name in names}


def groups(split: Split) -> tuple[list[int], list[int], list[int]]:
    return split.seen, split.validation, split.unseen


def copied(dataset: Dataset, copies: list[tuple[str, int, str, int]]) -> Dataset:
    """`dataset` where image `row` of a part is a copy of another, for each (part, row, part of original, original)."""
    images = {"train": dataset.train_images.copy(), "test": dataset.test_images.copy()}
    for part, row, other, original in copies:
        images[part][row] = images[other][original]
    return dataclasses.replace(dataset, train_images=images["train"], test_images=images["test"])


def assert_no_leak(dataset: Dataset, split: Split) -> None:
    """Compares contents pair by pair, the slow and obvious way."""

    def seen_by(rows: dict[int, np.ndarray], labels: list[int]) -> set[bytes]:
        return {dataset.train_images[row].tobytes() for label in labels if label in rows for row in rows[label]}

    test = {image.tobytes() for image in dataset.test_images}
    held_out = split.validation + split.unseen
    foreign = {dataset.train_images[row].tobytes() for row in np.flatnonzero(np.isin(dataset.train_labels, held_out))}
    training = seen_by(split.training, split.seen)
    calibration = seen_by(split.calibration, split.seen + split.validation)
    validation = seen_by(split.calibration, split.validation) | seen_by(split.support, split.validation)
    unseen = seen_by(split.support, split.unseen)
    assert not training & (test | foreign | calibration)
    assert not calibration & (test | unseen)
    assert not seen_by(split.calibration, split.seen) & (foreign | test)
    assert not seen_by(split.calibration, split.validation) & seen_by(split.support, split.validation)
    assert not validation & unseen
    assert not (validation | unseen) & test
    assert len(calibration) == sum(map(len, split.calibration.values()))  # no image twice


def test_last_classes_are_unseen(tiny):
    split = make_split(tiny, params(validation_classes=1))
    assert groups(split) == ([0, 1, 2], [3], [4, 5])
    assert list(split.training) == [0, 1, 2]
    assert list(split.calibration) == [0, 1, 2, 3]
    assert list(split.support) == [3, 4, 5]
    for label in range(6):
        rows = np.concatenate([part[label] for part in lists(split).values() if label in part])
        assert sorted(rows) == list(range(12 * label, 12 * label + 12))  # all are used, each once
    assert {len(rows) for rows in split.calibration.values()} == {3}
    assert all((np.diff(rows) > 0).all() for part in lists(split).values() for rows in part.values())


def test_random_classes_come_from_the_seed(digits):
    drawn = {seed: groups(make_split(digits, params(unseen="random", seed=seed))) for seed in range(5)}
    assert drawn[0] == groups(make_split(digits, params(unseen="random", seed=0)))
    assert len({tuple(unseen) for _, _, unseen in drawn.values()}) > 1
    for seen, validation, unseen in drawn.values():
        assert sorted(seen + validation + unseen) == list(range(10))
        assert (seen, unseen) == (sorted(seen), sorted(unseen))


def test_unseen_classes_do_not_depend_on_validation_classes(digits):
    for choice in ("last", "random"):
        without, some = (make_split(digits, params(unseen=choice, validation_classes=v)) for v in (0, 3))
        assert without.unseen == some.unseen
        assert len(some.validation) == 3


def test_the_draw_of_a_class_depends_on_no_other_class(tiny):
    some = make_split(tiny, params(unseen_classes=3, validation_classes=1)).calibration
    more = make_split(tiny, params(unseen_classes=2)).calibration
    for label in some:
        assert np.array_equal(some[label], more[label])
    assert len({tuple(rows % 12) for rows in more.values()}) > 1  # and classes do not all draw the same places
    other_seed = make_split(tiny, params(seed=2)).calibration
    assert any(not np.array_equal(other_seed[label], more[label]) for label in more)


def test_copies_are_dropped_and_reported(tiny):
    # Rows of class c: training 12c..12c+11, test 3c..3c+2. Seen 0-2, validation 3, unseen 4-5.
    data = copied(
        tiny,
        [
            ("train", 0, "test", 0),  # seen, a test image of its own class
            ("train", 13, "test", 17),  # seen, a test image of an unseen class
            ("train", 14, "train", 50),  # seen, an unseen class's image
            ("train", 15, "train", 40),  # seen, a validation class's image
            ("train", 37, "test", 1),  # validation, a test image
            ("train", 38, "train", 60),  # validation, an unseen class's image
            ("train", 70, "test", 2),  # unseen, a test image
            ("train", 61, "train", 52),  # unseen, another unseen class's image: no leak
            ("train", 2, "train", 20),  # seen, another seen class's image: no leak
        ],
    )
    split = make_split(data, params(validation_classes=1))
    assert split.dropped == {
        "test": [
            "train 70 (fox) is a copy of test 2 (ant)",
            "train 37 (dog) is a copy of test 1 (ant)",
            "train 0 (ant) is a copy of test 0 (ant)",
            "train 13 (bee) is a copy of test 17 (fox)",
        ],
        "unseen": [
            "train 38 (dog) is a copy of train 60 (fox)",
            "train 14 (bee) is a copy of train 50 (eel)",
        ],
        "validation": ["train 15 (bee) is a copy of train 40 (dog)"],
    }
    used = {row for part in lists(split).values() for rows in part.values() for row in rows}
    assert set(range(72)) - used == {70, 37, 0, 13, 38, 14, 15}
    assert {2, 20} <= set(split.training[0]) | set(split.training[1])
    assert split.counts()["dropped_copies_of_test"] == 4
    assert_no_leak(data, split)


def test_no_leak_whatever_is_a_copy_of_whatever(tiny):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        sizes = {"train": 72, "test": 18}
        parts = rng.choice(["train", "test"], (10, 2))
        copies = [(a, int(rng.integers(sizes[a])), b, int(rng.integers(sizes[b]))) for a, b in parts]
        data = copied(tiny, copies)
        split = make_split(data, params(validation_classes=1, calibration_images=2, unseen="random", seed=seed))
        assert_no_leak(data, split)
        assert sum(map(len, split.dropped.values())) + sum(
            split.counts()[f"{name}_images"] for name in lists(split)
        ) == len(data.train_images)


@pytest.mark.parametrize(
    ("copies", "shots", "changes", "message"),
    [
        ([], 1, {"calibration_images": 13}, "split.calibration_images: found 13; must be at most 10: class 0 (ant)"),
        ([], 1, {"calibration_images": 8, "validation_classes": 1}, "found 8; must be at most 7: class 3 (dog)"),
        ([12, 13, 14, 24], 1, {"calibration_images": 10}, "found 10; must be at most 7: class 1 (bee)"),
        (range(12, 23), 1, {}, "images to calibrate on: found 0; must be at least 2: class 1 (bee)"),
        (range(60, 68), 1, {}, "support images: found 4; must be at least 5: class 5 (fox)"),
        ([], 10, {}, "adaptation.shots: found 10; must be at most 9: class 0 (ant)"),
        ([24, 25, 60], 12, {}, "adaptation.shots: found 12; must be at most 7: class 2 (cat)"),
    ],
)
def test_more_images_than_a_class_has_are_refused_with_the_bound_that_holds(tiny, copies, shots, changes, message):
    """The class with the fewest is named; what is obeyed is not refused again."""
    data = copied(tiny, [("train", row, "test", 0) for row in copies])
    with pytest.raises(UserError) as caught:
        make_split(data, params(**changes), shots)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    if bound := re.search(r"must be at most (\d+)", message):
        most = int(bound[1])
        if "shots" in message:
            make_split(data, params(**changes), most)
        else:
            make_split(data, params(**changes | {"calibration_images": most}))


def test_a_class_needs_a_pair_to_test_on(tiny):
    one_test = dataclasses.replace(tiny, test_images=tiny.test_images[2:], test_labels=tiny.test_labels[2:])
    with pytest.raises(UserError, match=r"test images: found 1; must be at least 2: class 0 \(ant\)"):
        make_split(one_test, params())


def test_too_many_classes_are_refused(tiny):
    make_split(tiny, params(unseen_classes=4))
    with pytest.raises(UserError, match=r"found 5; the data set has 6 classes: at most 4"):
        make_split(tiny, params(unseen_classes=3, validation_classes=2))


def test_what_is_saved_is_loaded(tmp_path, tiny):
    data = copied(tiny, [("train", 0, "test", 0), ("train", 14, "train", 50)])
    for changes in ({}, {"validation_classes": 2}, {"unseen": "random"}):
        split = make_split(data, params(**changes))
        save_split(tmp_path / "split.json", split, data)
        loaded = load_split(tmp_path / "split.json")
        assert groups(loaded) == groups(split)
        assert lists(loaded) == lists(split)
        assert loaded.dropped == split.dropped
        assert all(
            rows.dtype == np.int64 for part in ("training", "support") for rows in getattr(loaded, part).values()
        )
        first = (tmp_path / "split.json").read_bytes()
        save_split(tmp_path / "split.json", loaded, data)
        assert (tmp_path / "split.json").read_bytes() == first


def test_the_file_has_names_and_one_class_a_line(tmp_path, tiny):
    data = copied(tiny, [("train", 0, "test", 0)])
    save_split(tmp_path / "split.json", make_split(data, params()), data)
    text = (tmp_path / "split.json").read_text()
    assert '"train 0 (ant) is a copy of test 0 (ant)"' in text
    for label, name in enumerate(tiny.class_names):
        assert sum(f'"label": {label}, "name": "{name}"' in line for line in text.splitlines()) == 1
    assert json.loads(text)["counts"]["unseen_classes"] == 2


@pytest.fixture
def saved(tmp_path, tiny):
    """A split's file."""
    save_split(tmp_path / "split.json", make_split(tiny, params()), tiny)
    return tmp_path / "split.json"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training": [-1, 3]}, "classes[1].training[0]: found -1; must be at least 0"),
        ({"training": [3, 10**30]}, "classes[1].training[1]: found 1000"),
        ({"training": [1.5]}, "classes[1].training[0]: found 1.5; must be a whole number"),
        ({"training": "all"}, "classes[1].training: found 'all'; must be a list"),
        ({"group": "other"}, "classes[1].group: found 'other'; must be one of 'seen', 'validation', 'unseen'"),
    ],
)
def test_a_wrong_file_is_named(saved, changes, words):
    content = json.loads(saved.read_text())
    content["classes"][1].update(changes)
    saved.write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        load_split(saved)
    assert str(caught.value).startswith(f"{saved}: {words}")


@fuzz(100, data=st.data())
def test_a_damaged_split_is_loaded_or_named(saved, data):
    odd = saved.with_name("odd.json")
    odd.write_bytes(damaged(data, saved.read_bytes()))
    try:
        load_split(odd)
    except UserError as error:
        assert str(error).startswith(f"{odd}: ") and "\n" not in str(error)


@fuzz(100, data=st.data())
def test_any_value_anywhere_in_a_split_is_taken_or_named(saved, data):
    content = json.loads(saved.read_text())
    home = data.draw(st.sampled_from([content, content["counts"], *content["classes"]]))
    home[data.draw(st.sampled_from(sorted(home)))] = data.draw(ANY_JSON)
    odd = saved.with_name("odd.json")
    odd.write_text(json.dumps(content))
    try:
        load_split(odd)
    except UserError as error:
        assert str(error).startswith(f"{odd}: ") and "\n" not in str(error)


def test_real_duplicates_across_the_border(cifar100):
    """Four groups of copies stand across labels 0-89 and 90-99; the seen side of each must go."""
    across = [(18461, "train", 46752), (27737, "train", 47636), (34187, "train", 31227), (32205, "test", 1357)]
    split = make_split(cifar100, params(unseen_classes=10, calibration_images=20))
    trained = set(np.concatenate(list(split.training.values())).tolist())
    calibrated = set(np.concatenate(list(split.calibration.values())).tolist())
    supports = set(np.concatenate(list(split.support.values())).tolist())
    for row, part, original in across:
        images = {"train": cifar100.train_images, "test": cifar100.test_images}[part]
        assert np.array_equal(cifar100.train_images[row], images[original])
        assert row not in trained | calibrated | supports
        if part == "train":
            assert original in supports
    assert {reason: len(sentences) for reason, sentences in split.dropped.items()} == {
        "test": 10,
        "unseen": 3,
        "validation": 0,
    }
    assert_no_leak(cifar100, split)


CIFAR_FS = {"unseen": "cifar_fs", "unseen_classes": 20, "validation_classes": 16}


def test_cifar_fs_splits_the_classes_as_published(cifar100):
    split = make_split(cifar100, params(**CIFAR_FS))
    names = {group: {cifar100.class_names[c] for c in getattr(split, group)} for group in ("unseen", "validation")}
    assert {"worm", "baby", "pickup_truck"} <= names["unseen"] and {"crab", "sea"} <= names["validation"]
    assert [len(split.seen), len(split.validation), len(split.unseen)] == [64, 16, 20]


@pytest.mark.parametrize("changes", [{"unseen_classes": 20, "validation_classes": 20}, {"unseen": "random"}, CIFAR_FS])
def test_real_splits_do_not_leak(cifar100, changes):
    split = make_split(cifar100, params(**{"unseen_classes": 50, "calibration_images": 20, **changes}))
    assert_no_leak(cifar100, split)
