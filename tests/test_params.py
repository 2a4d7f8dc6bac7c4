"""Each mistake in params.yaml ends in one line with the key, the value and what is allowed."""

import tempfile
from pathlib import Path

import pytest
import yaml
from helpers import ROOT, fuzz
from hypothesis import strategies as st

from oneshot.errors import UserError
from oneshot.params import Params, load_params

GOOD = yaml.safe_load((ROOT / "params.yaml").read_text())


def load(tmp_path, **changes):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(GOOD | changes))
    return load_params(path)


def check(values):
    """Load parameters from a file that holds them; its folder does not stand in messages."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_text(yaml.safe_dump(values))
        try:
            return load_params(path)
        except UserError as error:
            raise UserError(str(error).replace(f"{folder}/", "")) from None


def test_committed_parameters_are_valid():
    assert load_params(ROOT / "params.yaml").dataset == "cifar100"


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("meta_step", "fast", "must be a number"),
        ("meta_step", True, "must be a number"),
        ("meta_step", -0.1, "must be at least 0"),
        ("meta_step", 0, "must be above 0"),
        ("meta_step", [0.1, 0.2], "must be a number"),
        ("meta_step", None, "must be a number"),
        ("inner_learning_rate", float("nan"), "must be a finite number"),
        ("weight_decay", float("inf"), "must be a finite number"),
        ("seed", 1.5, "must be a whole number"),
        ("seed", True, "must be a whole number"),
        ("seed", -1, "must be at least 0"),
        ("training", "both", "must be one of 'classic', 'meta'"),
        ("resnet_first_stride", 3, "must be at most 2"),
        ("resnet_widths", [], "must be a list of at least 1 numbers"),
        ("data_folder", 2024, "must be a word or a path"),
        ("resnet_blocks", [1, 1], "must have as many stages as resnet_widths, 3"),
        ("resnet_widths", [64, 32, 128], "must not fall"),
        ("pretrained_weights", "download", "must be none, or a model file of this project"),
        ("class_split", "cifar_fs", "must be 20 with class_split cifar_fs"),
        ("episode_ways", 11, "must be at most 10"),
        ("adapt_meta_steps", [5], "must be 6 numbers"),
        ("adapt_classic_learning_rate", [0.1, 0.1, 0], "must be above 0"),
        ("drop_duplicates", 1, "must be true or false"),
        ("views", 3, "must be one of 1, 2, 10, 12"),
        ("views", True, "must be a whole number"),
        ("adapt_shots", 5, "must be a list such as [1, 5]"),
        ("adapt_shots", [1, 1], "must not repeat"),
        ("adapt_shots", [1, 481], "at most 480"),
        ("unseen_classes", 99, "at most 98"),
        ("unseen_classes", 1, "must be at least 2"),
        ("validation_classes", 1, "at least 2"),
        ("validation_classes", 89, "at most 88"),
        ("classic_batch_classes", 96, "at most the 90 seen classes"),
        ("task_classes", 60, "must divide batch_size"),
        ("task_classes", 1, "at least 2"),
        ("image_budget", 500, "one outer step"),
        ("calibration_images", 499, "at most 498"),
        ("evaluate_unseen", False, "must be true where validation_classes is 0"),
        ("adapt_batch_size", 100, "a multiple of 3"),
        ("triplet_mining", "random", "a multiple of 3"),
        ("forward_passes", "separate", "needs triplet_mining random"),
        ("target_fpr", 1, "must be below 1"),
        ("device", "gpu", "must be one of"),
    ],
)
def test_a_mistake_is_one_line_with_key_value_and_remedy(tmp_path, key, value, allowed):
    changes = {key: value}
    if key == "triplet_mining":
        key, changes = "batch_size", changes | {"batch_size": 256}
    elif key == "class_split":
        key, changes = "unseen_classes", changes | {"unseen_classes": 10}
    with pytest.raises(UserError) as caught:
        load(tmp_path, **changes)
    message = str(caught.value)
    assert "\n" not in message
    assert f"params.yaml: {key}: found {changes[key]!r}" in message or f"params.yaml: {key}: found 0;" in message
    assert allowed in message


def test_a_typo_names_the_nearest_parameter(tmp_path):
    with pytest.raises(UserError, match="meta_stepp: unknown parameter.*did you mean meta_step"):
        load(tmp_path, meta_stepp=0.1)


def test_a_missing_parameter_is_named(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in GOOD.items() if key != "seed"}))
    with pytest.raises(UserError, match="seed: missing"):
        load_params(path)


@pytest.mark.parametrize(
    "content",
    ["", "just words", "- a\n- b", "a: [1", "\x00", "42", "a: 0b_", "a: 2024-13-45", "a: " + "9" * 5000, "[" * 3000],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path, content):
    path = tmp_path / "params.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=r"params\.yaml"):
        load_params(path)


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(UserError, match="top folder"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(("text", "value"), [("1e-05", 1e-5), ("1E3", 1000.0), ("2.5e-1", 0.25)])
def test_numbers_as_dvc_writes_them_are_numbers(tmp_path, text, value):
    """`dvc exp run -S` writes YAML 1.2, where 1e-05 is a number; PyYAML reads YAML 1.1."""
    assert load(tmp_path, inner_learning_rate=text).inner_learning_rate == value
    assert load(tmp_path, image_budget="1e6").image_budget == 1_000_000


LEAVES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)


@pytest.mark.parametrize("unseen", [10, 20, 50])
def test_the_references_splits_are_valid(tmp_path, unseen):
    assert load(tmp_path, unseen_classes=unseen, task_classes=32).unseen_classes == unseen


def wrong_values(key):
    """Values of the wrong kind for a parameter: none of them may pass, nor end in a traceback."""
    kinds = [None, {"a": 1}, [[1]], float("nan"), float("inf"), -(10**30), 10**30, "", "no such word", b"bytes"]
    annotation = str(Params.model_fields[key].annotation)
    if "bool" in annotation:
        return [*kinds, 0, 1, "yes", [True]]
    if key in ("data_folder", "pretrained_weights"):
        return [*kinds[:7], "", b"bytes", True]  # any word may be a path
    return [*kinds, True, False, ["a"], [1, 2, [3]], {"value": GOOD[key]}]


@pytest.mark.parametrize("key", Params.model_fields)
def test_every_wrong_kind_of_value_is_named(key):
    for value in wrong_values(key):
        with pytest.raises(UserError) as caught:
            check(GOOD | {key: value})
        message = str(caught.value)
        assert message.startswith(f"params.yaml: {key}: found ") and "; must be" in message and "\n" not in message
        assert "None" not in message.split("; must be")[1] and "input should" not in message


@fuzz(300, st.dictionaries(st.sampled_from(sorted(Params.model_fields)), LEAVES, min_size=1, max_size=3))
def test_any_values_are_taken_or_refused_in_one_line(changes):
    try:
        check(GOOD | changes)
    except UserError as error:
        assert "\n" not in str(error) and str(error).startswith("params.yaml: ")


@fuzz(200, content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_file_is_taken_or_refused_in_one_line(tmp_path, content):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"params\.yaml") as caught:
        load_params(path)
    assert "\n" not in str(caught.value)
