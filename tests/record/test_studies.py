"""The record of experiments: every line can be run, and figures count only as long as they hold."""

import json
import sys

import pytest
import run_studies
import yaml
from helpers import COMMITTED, ROOT, refusal
from made_up import add_study, details, make_project

from oneshot.common.files import write_bytes, write_text
from oneshot.common.params import changed
from oneshot.params import Params, check_params
from oneshot.record.runs import params_with, read_overrides
from oneshot.record.statistics import interval, luck_band
from oneshot.record.studies import Record

RECORD = Record(ROOT)


@pytest.mark.parametrize("config", sorted(ROOT.glob("configs/*.yaml")), ids=lambda path: path.stem)
def test_every_config_is_a_valid_set_of_parameters_that_changes_something(tmp_path, config):
    classes, each = {"folder": (12, 30), "omniglot": (170, 6)}.get(config.stem, (0, 0))
    for number in range(classes * each):  # pictures of which only the names count
        write_bytes(tmp_path / f"pictures/{number % classes}/{number}.png", b"")
    more = [f"dataset={tmp_path}/pictures"] if classes else []
    write_text(tmp_path / "params.yaml", params_with(ROOT, read_overrides(config, more)))
    assert check_params(tmp_path / "params.yaml") != check_params(ROOT / "params.yaml")


@pytest.mark.parametrize("name", RECORD.lines)
def test_every_line_is_a_valid_set_of_parameters_and_changes_something(name):
    line = RECORD.lines[name]
    params = Params.model_validate(changed(COMMITTED, RECORD.changes(name)))
    assert list(params.mistakes()) == []
    config = read_overrides(ROOT / line["config"], []) if "config" in line else {}
    assert (params == Params.model_validate(changed(COMMITTED, config))) == (not line["set"])


def test_no_two_lines_are_the_same_experiment():
    seen = [json.dumps([line["set"], line.get("config")], sort_keys=True) for line in RECORD.lines.values()]
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("runs.yaml", "one: {why: x, sets: {}}", "one.sets: unknown, found with {}"),
        ("runs.yaml", "one: {why: x}", "one.set: missing"),
        ("runs.yaml", "one: {why: x, set: null}", "one.set: found None; must be lines"),
        ("runs.yaml", "- one", "found ['one']; must be lines"),
        ("runs.yaml", "one: [", "not valid YAML"),
        ("added.yaml", "- one", "found ['one']; must be lines"),
        ("seed_2.json", "{", "not valid JSON"),
        ("seed_2.json", "{}", "default: missing"),
    ],
)
def test_what_is_wrong_in_the_record_is_named(tmp_path, path, text, message):
    folder = make_project(tmp_path)
    add_study(folder, "seed_2", details())
    (folder / "studies" / path).write_text(text)
    assert refusal(lambda: Record(folder).done).startswith(f"{folder}/studies/{path}: {message}")


def test_what_needs_another_machine_runs_only_where_it_is_named(tmp_path):
    folder = make_project(tmp_path)
    due = Record(folder).due()
    assert set(RECORD.lines) - set(due) == {name for name, line in RECORD.lines.items() if "needs" in line} != set()
    add_study(folder, "seed_2", details())
    assert set(due) - set(Record(folder).due()) == {"seed_2"}


def test_named_lines_run_again_and_those_of_a_pattern_where_they_have_no_figures(tmp_path, monkeypatch):
    ran = []
    add_study(make_project(tmp_path), "fold_2", details())
    monkeypatch.setattr(run_studies, "ROOT", tmp_path)
    monkeypatch.setattr(run_studies, "run_pipeline", lambda root, name, *rest: ran.append(name))
    monkeypatch.setattr(run_studies, "figures_of", lambda folder: {})
    monkeypatch.setattr(sys, "argv", ["run_studies.py", "seed_3", "fold_2", "fold_[1-3]"])
    run_studies.main()
    assert ran == ["seed_3", "fold_2", "fold_1", "fold_3"]
    monkeypatch.setattr(sys, "argv", ["run_studies.py", "fold_0*"])
    assert refusal(run_studies.main).startswith("studies/runs.yaml: has no fold_0*; it has seed_2, ")


def test_figures_count_as_long_as_their_line_and_the_default_hold(tmp_path):
    folder = make_project(tmp_path)
    add_study(folder, "seed_2", details())
    record = Record(folder)
    assert "seed_2" in record.done and len(record.seeds) == 2
    record.lines["seed_2"]["set"] = {"seed": 3}
    assert record.load("seed_2") is None
    # What the line sets itself, where it runs, and which training is shown are of no account.
    for changes, seeds in (
        ({"seed": 5, "hardware.threads": 1, "training": "classic"}, 2),
        ({"loss.weight_decay": 0.1}, 1),
    ):
        (folder / "params.yaml").write_text(yaml.safe_dump(changed(COMMITTED, changes)))
        assert len(Record(folder).seeds) == seeds
    # A parameter that is younger than the run counts only where it has another value than the one that changes nothing.
    (folder / "studies/added.yaml").write_text("reptile.foo: 0\n")
    for value, seeds in ((0, 2), (1, 1)):
        (folder / "params.yaml").write_text(yaml.safe_dump(changed(COMMITTED, {"reptile.foo": value})))
        assert len(Record(folder).seeds) == seeds


def test_intervals_are_students():
    assert interval([0.5]) == (0.5, None)
    # The standard error of 1, 2, 3 is 1 / sqrt(3); t with 2 degrees of freedom is 4.303.
    assert interval([1, 2, 3]) == (2, pytest.approx(4.3027 / 3**0.5, rel=1e-4))
    # One run beside the mean of three: variances of 1 and 3 points^2 pool to 2; t with 4 degrees of freedom is 2.776.
    groups = ((0.80, 0.81, 0.82), (0.79, 0.79, 0.82))
    assert luck_band(groups) == pytest.approx(0.02776 * (2 * 4 / 3) ** 0.5, rel=1e-3)
    assert luck_band([[0.8], [0.7]]) == 0
