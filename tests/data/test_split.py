import dataclasses
import json
import re
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import ANY_JSON, damaged, fuzz, refusal, taken_or_named
from hypothesis import strategies as st

from oneshot.data.split import SplitParams, SplitStage, load_split, make_split, save_split

DEFAULTS = {"unseen_classes": 2, "unseen": "last", "validation_classes": 0, "calibration_images": 3}


def params(seed=1, **changes):
    return SplitStage(seed=seed, split=SplitParams(**(DEFAULTS | changes)))


def lists(split):
    names = ("training", "calibration", "support")
    return {name: {label: rows.tolist() for label, rows in getattr(split, name).items()} for name in names}


def groups(split):
    return split.seen, split.validation, split.unseen


def copied(dataset, copies):
    """`dataset` where image `row` of a part is a copy of another, for each (part, row, part of original, original)."""
    images = {"train": dataset.train_images.copy(), "test": dataset.test_images.copy()}
    for part, row, other, original in copies:
        images[part][row] = images[other][original]
    return dataclasses.replace(dataset, train_images=images["train"], test_images=images["test"])


def assert_no_leak(dataset, split):
    """Compares contents pair by pair, the slow and obvious way."""

    def contents(rows, labels):
        return {dataset.train_images[row].tobytes() for label in labels for row in rows[label]}

    test = {image.tobytes() for image in dataset.test_images}
    held_out = split.validation + split.unseen
    foreign = {dataset.train_images[row].tobytes() for row in np.flatnonzero(np.isin(dataset.train_labels, held_out))}
    training, seen = (contents(rows, split.seen) for rows in (split.training, split.calibration))
    validation, supports = (contents(rows, split.validation) for rows in (split.calibration, split.support))
    unseen = contents(split.support, split.unseen)
    assert not training & (test | foreign | seen) and not seen & (test | foreign)
    assert not validation & supports and not (validation | supports) & unseen
    assert not (validation | supports | unseen) & test
    assert len(seen | validation) == sum(map(len, split.calibration.values()))  # no image twice


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


def test_each_class_is_unseen_in_one_fold_whatever_the_seed_and_the_validation_classes(digits):
    folds = []
    for fold in range(1, 6):
        found = set()
        for seed, validation in product(range(3), (0, 3)):
            split = make_split(digits, params(unseen=f"fold_{fold}", seed=seed, validation_classes=validation))
            assert sorted([*split.seen, *split.validation, *split.unseen]) == list(range(10))
            assert len(split.validation) == validation and split.seen == sorted(split.seen)
            found.add(tuple(split.unseen))
        folds += found
    assert len(folds) == 5 and sorted(label for fold in folds for label in fold) == list(range(10))
    assert any(np.diff(fold)[0] != 1 for fold in folds)  # drawn, not one after the other


def test_a_fold_beyond_the_last_class_is_refused():
    facts = SimpleNamespace(dataset="digits", classes=10, training_images=100, seen_classes=8)
    split = SplitParams(**(DEFAULTS | {"unseen": "fold_6", "unseen_classes": 2}))
    assert list(split.mistakes(facts)) == [("unseen", "must be at most fold_5: digits has 10 classes")]


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
        "unseen": ["train 38 (dog) is a copy of train 60 (fox)", "train 14 (bee) is a copy of train 50 (eel)"],
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
        split = make_split(data, params(validation_classes=1, calibration_images=2, unseen="fold_2", seed=seed))
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
    assert message in refusal(make_split, data, params(**changes), shots)
    if bound := re.search(r"must be at most (\d+)", message):
        most = int(bound[1])
        if "shots" in message:
            make_split(data, params(**changes), most)
        else:
            make_split(data, params(**changes | {"calibration_images": most}))


def test_a_class_needs_a_pair_to_test_on(tiny):
    one_test = dataclasses.replace(tiny, test_images=tiny.test_images[2:], test_labels=tiny.test_labels[2:])
    assert "test images: found 1; must be at least 2: class 0 (ant)" in refusal(make_split, one_test, params())


@pytest.mark.parametrize("changes", [{}, {"validation_classes": 2}, {"unseen": "fold_3"}])
def test_what_is_saved_is_loaded_and_has_one_class_a_line(tmp_path, tiny, changes):
    data, path = copied(tiny, [("train", 0, "test", 0), ("train", 14, "train", 50)]), tmp_path / "split.json"
    split = make_split(data, params(**changes))
    save_split(path, split, data)
    first, loaded = path.read_text(), load_split(path)
    assert (groups(loaded), lists(loaded), loaded.dropped) == (groups(split), lists(split), split.dropped)
    assert {rows.dtype for part in (loaded.training, loaded.support) for rows in part.values()} == {np.dtype(np.int64)}
    save_split(path, loaded, data)
    assert path.read_text() == first and '"train 0 (ant) is a copy of test 0 (ant)"' in first
    for label, name in enumerate(tiny.class_names):
        assert sum(f'"label": {label}, "name": "{name}"' in line for line in first.splitlines()) == 1


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
        ({"training": "all"}, "classes[1].training: found 'all'; must be a list"),
        ({"group": "other"}, "classes[1].group: found 'other'; must be 'seen', 'validation' or 'unseen'"),
    ],
)
def test_a_wrong_file_is_named(saved, changes, words):
    content = json.loads(saved.read_text())
    content["classes"][1].update(changes)
    saved.write_text(json.dumps(content))
    assert refusal(load_split, saved).startswith(f"{saved}: {words}")


@fuzz(200, data=st.data())
def test_a_damaged_split_or_any_value_anywhere_in_it_is_taken_or_named(saved, data):
    odd = saved.with_name("odd.json")
    if data.draw(st.booleans()):
        odd.write_bytes(damaged(data, saved.read_bytes()))
    else:
        content = json.loads(saved.read_text())
        home = data.draw(st.sampled_from([content, content["counts"], *content["classes"]]))
        home[data.draw(st.sampled_from(sorted(home)))] = data.draw(ANY_JSON)
        odd.write_text(json.dumps(content))
    taken_or_named(f"{odd}: ", load_split, odd)


def test_real_duplicates_across_the_border(cifar100):
    """Four groups of copies stand across labels 0-89 and 90-99; the seen side of each must go."""
    across = [(18461, "train", 46752), (27737, "train", 47636), (34187, "train", 31227), (32205, "test", 1357)]
    split = make_split(cifar100, params(unseen_classes=10, calibration_images=20))
    supports, used = set(), set()
    for part in (split.training, split.calibration, split.support):
        supports = {row for rows in part.values() for row in rows.tolist()}
        used |= supports
    for row, part, original in across:
        images = {"train": cifar100.train_images, "test": cifar100.test_images}[part]
        assert np.array_equal(cifar100.train_images[row], images[original])
        assert row not in used and (part == "test" or original in supports)
    assert [len(split.dropped[reason]) for reason in ("test", "unseen", "validation")] == [10, 3, 0]
    assert_no_leak(cifar100, split)


def test_cifar_fs_splits_the_classes_as_published_and_does_not_leak(cifar100):
    split = make_split(cifar100, params(unseen="cifar_fs", unseen_classes=20, validation_classes=16))
    names = {group: {cifar100.class_names[c] for c in getattr(split, group)} for group in ("unseen", "validation")}
    assert {"worm", "baby", "pickup_truck"} <= names["unseen"] and {"crab", "sea"} <= names["validation"]
    assert [len(group) for group in groups(split)] == [64, 16, 20]
    assert_no_leak(cifar100, split)
