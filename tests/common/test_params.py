"""Each mistake in params.yaml ends in one line with the key, the value and what is allowed."""

import re

import pytest
import yaml
from helpers import ANY_JSON, COMMITTED, fuzz, refusal, taken_or_named
from hypothesis import strategies as st

from oneshot.common.files import write_bytes
from oneshot.common.params import changed
from oneshot.common.schema import names_of
from oneshot.params import Params, check_params
from oneshot.sources.datasets import DATASETS


def check(changes):
    """Check the committed parameters with changes by full names."""
    return check_params("params.yaml", yaml.safe_dump(changed(COMMITTED, changes)))


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("meta_step", -0.1, "must be above 0"),
        ("meta_step", 0, "must be above 0"),
        ("dataset", "cifar10", f"must be one of {', '.join(sorted(DATASETS))}, or the path of a folder"),
        ("reptile", 3, "must be a group of parameters"),
        ("loss.weight_decay", 1.5, "must be at most 1"),  # at which a training would blame its learning rate
        ("seed", 1.5, "must be a whole number"),
        ("training", "both", "must be 'classic' or 'meta'"),
        ("network.first_stride", 3, "must be at most 2"),
        ("network.widths", [], "must be a list of at least 1 numbers"),
        ("network.widths", [64, 32, 128], "must not fall"),
        ("split.unseen", "cifar_fs", "unseen_classes: found 10; must be 20 with split.unseen cifar_fs"),
        ("split.unseen_classes", 99, "at most 98"),
        ("split.validation_classes", 1, "at least 2"),
        ("split.validation_classes", 89, "at most 88"),
        ("split.calibration_images", 485, "at most 484"),
        ("evaluation.unseen", False, "must be true where split.validation_classes is 0"),
        ("adaptation.shots", 5, "must be a list such as [1, 5]"),
        ("adaptation.shots", [1, 1], "must not repeat"),
        ("adaptation.shots", [1, 467], "at most 466"),
        ("classic.batch_classes", 96, "at most the 90 seen classes"),
        ("reptile.task_classes", 60, "must divide batch.size"),
        ("reptile.task_classes", 1, "at least 2"),
        ("image_budget", 500, "one outer step"),
        ("loss.mining", "random", "batch.size: found 128; must be a multiple of 3"),
        ("batch.forward_passes", "separate", "needs loss.mining random"),
        ("threshold.target_fpr", 1, "must be below 1"),
    ],
)
def test_a_mistake_is_one_line_with_full_name_value_and_remedy(name, value, allowed):
    told, found = refusal(check, {name: value}), "" if ": found" in allowed else f"{name}: found {value!r}; "
    assert allowed in told and told.startswith(f"params.yaml: {found}")


def test_random_triplets_take_any_number_of_classes_a_batch_but_no_rotated_ones():
    random = {"loss.mining": "random", "batch.size": 126}
    check(random | {"classic.batch_classes": 96})
    told = refusal(check, random | {"batch.augmentation": "crop_flip_cutout_rotate"})
    assert "batch.augmentation: found 'crop_flip_cutout_rotate'; needs loss.mining all or hard" in told


def test_a_typo_names_the_nearest_parameter():
    for right in ("meta_step", "reptile.inner_steps", "seed"):
        wrong = right[:-2] + right[-1]
        assert f"params.yaml: {wrong}: unknown, found with 3; did you mean {right}" in refusal(check, {wrong: 3})


def test_what_is_missing_is_named(tmp_path):
    path, values = tmp_path / "params.yaml", changed(COMMITTED, {})
    assert "run from the top folder" in refusal(check_params, path)
    del values["reptile"]["inner_steps"]
    for text, told in (
        (yaml.safe_dump(values), r"reptile\.inner_steps: missing; add it"),
        ("", r"\w+: missing; add it"),
        ("- a\n- b", r"found .*; must be a group of parameters"),
    ):
        path.write_text(text)
        assert re.search(f"params.yaml: {told}", refusal(check_params, path))


@pytest.mark.parametrize(("classes", "pictures"), [(0, 9), (3, 9), (5, 5)])
def test_a_folder_with_too_little_is_refused_for_it(tmp_path, classes, pictures):
    """Else the bounds of counts would be negative."""
    (tmp_path / "pictures").mkdir()
    for number in range(classes * pictures):
        write_bytes(tmp_path / f"pictures/{number % classes}/{number}.png", b"")
    told = refusal(check, {"dataset": str(tmp_path / "pictures")})
    assert re.search(f"dataset: found .* has {classes} classes, .* must have at least 4 of both", told)


@pytest.mark.parametrize("name", names_of(Params))
def test_every_wrong_kind_of_value_is_named(name):
    """None of them may pass, nor end in a traceback."""
    kinds = [None, {"a": 1}, [[1]], float("nan"), float("inf"), -(10**30), 10**30, "", "no such word"]
    group, _, key = name.rpartition(".")
    value = (COMMITTED[group] if group else COMMITTED)[key]
    if isinstance(value, bool):
        kinds += [0, 1, "yes", [True]]
    elif name in ("dataset", "network.start_from"):
        kinds = [*kinds[:8], True]  # any word may be a path
    else:
        kinds += [True, False, ["a"], [1, 2, [3]], {"value": value}]
    for wrong in kinds:
        told = refusal(check, {name: wrong})
        assert re.match(rf"params\.yaml: {name}(\[\d\])?: found .*; must be ", told)
        assert "None" not in told.split("; must be")[1] and "input should" not in told


@fuzz(200, st.dictionaries(st.sampled_from(names_of(Params)), ANY_JSON, min_size=1, max_size=3))
def test_any_values_are_taken_or_refused_in_one_line(changes):
    taken_or_named("params.yaml: ", check, changes)


YAML_LIKE = st.text("&*!<>|{}[],:-?#'\"%@`~=.ab01_\n\t ", max_size=200)  # anchors, tags, blocks, directives


@fuzz(150, content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | YAML_LIKE.map(str.encode))
def test_any_file_is_taken_or_refused_in_one_line(tmp_path, content):
    (tmp_path / "params.yaml").write_bytes(content)
    assert "params.yaml" in refusal(check_params, tmp_path / "params.yaml")
