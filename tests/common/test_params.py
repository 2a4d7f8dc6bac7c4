"""Each mistake in params.yaml ends in one line with the key, the value and what is allowed."""

import re
import tempfile
from pathlib import Path

import pytest
import yaml
from helpers import ANY_JSON, COMMITTED, ROOT, fuzz, refusal, taken_or_named
from hypothesis import strategies as st

from oneshot.common.errors import UserError
from oneshot.common.files import write_bytes
from oneshot.common.params import changed, load_params
from oneshot.common.schema import names_of
from oneshot.params import Params, check_params
from oneshot.sources.datasets import DATASETS
from oneshot.training.classic import ClassicStage


def check(changes):
    """Check the committed parameters with changes by full names; the folder does not stand in messages."""
    return check_text(yaml.safe_dump(changed(COMMITTED, changes)))


def check_text(text):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        try:
            return check_params(path)
        except UserError as error:
            raise UserError(str(error).replace(f"{folder}/", "")) from None


def test_committed_parameters_are_valid():
    assert check_params(ROOT / "params.yaml").dataset == "cifar100"
    assert load_params(ClassicStage, ROOT / "params.yaml").classic.optimizer == "muon"


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("meta_step", -0.1, "must be at least 0"),
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
    with pytest.raises(UserError) as caught:
        check({name: value})
    message = str(caught.value)
    assert "\n" not in message and allowed in message and message.startswith("params.yaml: ")
    if ": found" not in allowed:
        assert message.startswith(f"params.yaml: {name}: found {value!r}; ")


@pytest.mark.parametrize(
    ("wrong", "right"), [("meta_stepp", "meta_step"), ("reptile.inner_stepss", "reptile.inner_steps"), ("sed", "seed")]
)
def test_a_typo_names_the_nearest_parameter(wrong, right):
    with pytest.raises(UserError, match=f"params.yaml: {wrong}: unknown, found with 3; did you mean {right}"):
        check({wrong: 3})


def test_a_missing_parameter_is_named():
    values = changed(COMMITTED, {})
    del values["reptile"]["inner_steps"]
    for text, told in (
        (yaml.safe_dump(values), r"reptile\.inner_steps: missing; add it"),
        ("", r"\w+: missing; add it"),
        ("- a\n- b", r"found .*; must be a group of parameters"),
    ):
        with pytest.raises(UserError, match=f"params.yaml: {told}"):
            check_text(text)


@pytest.mark.parametrize(("classes", "pictures"), [(0, 9), (3, 9), (5, 5)])
def test_a_folder_with_too_little_is_refused_for_it(tmp_path, classes, pictures):
    """Else the bounds of counts would be negative."""
    (tmp_path / "pictures").mkdir()
    for number in range(classes * pictures):
        write_bytes(tmp_path / f"pictures/{number % classes}/{number}.png", b"")
    with pytest.raises(UserError, match=f"dataset: found .* has {classes} classes, .* must have at least 4 of both"):
        check({"dataset": str(tmp_path / "pictures")})


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(UserError, match="top folder"):
        check_params(tmp_path / "params.yaml")


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
        with pytest.raises(UserError) as caught:
            check({name: wrong})
        message = str(caught.value)
        assert re.match(rf"params\.yaml: {name}(\[\d\])?: found .*; must be ", message) and "\n" not in message
        assert "None" not in message.split("; must be")[1] and "input should" not in message


@fuzz(200, st.dictionaries(st.sampled_from(names_of(Params)), ANY_JSON, min_size=1, max_size=3))
def test_any_values_are_taken_or_refused_in_one_line(changes):
    taken_or_named("params.yaml: ", check, changes)


YAML_LIKE = st.text("&*!<>|{}[],:-?#'\"%@`~=.ab01_\n\t ", max_size=200)  # anchors, tags, blocks, directives


@fuzz(150, content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | YAML_LIKE.map(str.encode))
def test_any_file_is_taken_or_refused_in_one_line(content):
    assert "params.yaml" in refusal(check_text, content)
