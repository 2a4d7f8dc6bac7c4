"""The record of experiments: every line can be run, and the page shows what was."""

import json
import sys

import pytest
import yaml
from helpers import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

import run_config
import run_studies
import write_experiments

from oneshot.files import write_json, write_table
from oneshot.params import Params, load_params

STUDIES = run_studies.load_studies()


@pytest.mark.parametrize("name", STUDIES)
def test_every_line_is_a_valid_set_of_parameters_and_changes_something(tmp_path, name):
    study = STUDIES[name]
    overrides = run_config.read_overrides(ROOT / study["config"], []) if "config" in study else {}
    run_config.write_params(tmp_path / "params.yaml", overrides | study["set"])
    params = load_params(tmp_path / "params.yaml")
    base = Params.model_validate(yaml.safe_load((ROOT / "params.yaml").read_text()) | overrides)
    assert (params == base) == (not study["set"])


def test_no_two_lines_are_the_same_experiment():
    seen = [json.dumps([study["set"], study.get("config")], sort_keys=True) for study in STUDIES.values()]
    assert len(set(seen)) == len(seen)


def test_what_needs_another_machine_runs_only_where_it_is_named(project):
    due = run_studies.due(STUDIES, project)
    assert set(STUDIES) - set(due) == {name for name, study in STUDIES.items() if "needs" in study} != set()
    record(project, "seed_2", metrics(0))
    assert set(due) - set(run_studies.due(STUDIES, project)) == {"seed_2"}


def test_figures_of_a_line_that_was_changed_since_count_as_missing(project):
    record(project, "budget_500", metrics(0))
    study = STUDIES["budget_500"]
    assert run_studies.load_line("budget_500", study, project) is not None
    assert run_studies.load_line("budget_500", study | {"set": {"image_budget": 600_000}}, project) is None


def test_splits_are_compared_on_the_classes_that_all_of_them_hold_out():
    def run(**figures):
        return {
            "classes": [
                {"class": n, **{f"{m}_triplet_accuracy": f for m in ("classic", "meta")}} for n, f in figures.items()
            ]
        }

    table = write_experiments.shared_classes_table({"few": run(worm=0.9), "many": run(worm=0.8, wolf=0.2)})
    assert "| triplet accuracy, 1 classes | 90.00 | 90.00 | 80.00 | 80.00 |" in table


def test_runs_stand_beside_the_one_that_they_differ_from(project):
    assert {name for beside in write_experiments.BESIDE for name in beside.runs} <= {"default", *STUDIES}
    record(project, "unseen_20", metrics(0))
    heading = "## More classes unseen"
    assert heading not in write_experiments.page(project)
    record(project, "budget_500", metrics(0.01))
    table = write_experiments.page(project).split(heading)[1].split("\n## ")[0]
    assert table.count("90 seen, 10 unseen") == table.count("80 seen, 20 unseen") == 2  # classic and meta
    assert "50 seen" not in table and "adapted" not in table
    assert "| one-shot accuracy, 5 of the unseen classes | 61.00 | 61.00 | 60.00 | 60.00 |" in table


def test_the_reference_stands_beside_its_recipe_scaled_down(project):
    figures = metrics(0)
    group = figures["unseen"] | {"binary_accuracy_fixed": 0.5, "binary_accuracy_best": 0.85}
    seen = {"seen": group, "adapted_seen_all": group, "unseen_reference": group}
    record(project, "reference_scaled", figures | seen | {"adapted_all": {"unseen_reference": group}})
    page = write_experiments.page(project)
    assert "| classic | triplet accuracy, seen classes | 88.34 | 90.00 |  |  |  |" in page
    assert "| meta | binary accuracy, unseen classes, adapted | 68.80 |  | 50.00 | 80.00 | 85.00 |" in page


def record(project, name, figures):
    """A line of the record, run with the default of `project`."""
    overrides = run_studies.changes(STUDIES[name])
    about = {"why": "", "default": run_studies.default_digest(overrides, project), "parameters": overrides}
    write_json(project / f"studies/{name}.json", about | {"classic": figures, "meta": figures, "classes": classes(0)})


def metrics(shift):
    group = {"triplet_accuracy": 0.9 + shift, "gain": 0.01, "gain_ci95": 0.001}
    group |= {f"binary_accuracy{kind}": 0.8 + shift for kind in ("", "_fixed", "_best", "_own_thresholds")}
    shots = {"one_shot": {"accuracy": 0.6 + shift, "ci95": 0.01}, "five_shot": {"accuracy": 0.7 + shift, "ci95": 0.01}}
    adapted = {"threshold": 0.5, "unseen": group, "unseen_reference": group}
    return {
        "seen": group, "unseen": group, "unseen_reference": group, **shots, "sampled_episodes": shots,
        "adapted_1": adapted, "adapted_all": adapted,
    }  # fmt: skip


def classes(shift):
    columns = ["triplet_accuracy", "binary_accuracy", "adapted_1_triplet_accuracy", "adapted_all_triplet_accuracy"]
    columns += [f"{name}_prototype_accuracy{of}" for name in ("adapted_1", "adapted_all") for of in ("", "_frozen")]
    values = {f"{m}_{column}": 0.8 + shift + 0.01 * i for m in ("classic", "meta") for i, column in enumerate(columns)}
    return [{"class": "worm", **values}, {"class": "wolf", **values, "meta_adapted_1_triplet_accuracy": 0.5}]


@pytest.fixture
def project(tmp_path):
    for name in ("metrics", "plots", "studies"):
        (tmp_path / name).mkdir()
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    for method in ("classic", "meta"):
        write_json(tmp_path / f"metrics/{method}.json", metrics(0))
    write_table(tmp_path / "plots/novel_classes.csv", classes(0))
    return tmp_path


def test_the_page_aggregates_seeds(project):
    write_json(
        project / "studies/seed_2.json",
        {"why": "", "default": run_studies.default_digest({"seed": 2}, project), "parameters": {"seed": 2},
         "classic": metrics(0.02), "meta": metrics(0.04), "classes": classes(0.1)},
    )  # fmt: skip
    page = write_experiments.page(project)
    assert "2 seeds" in page
    # Mean of 90 and 92, and Student's t with one degree of freedom, 12.706, times the standard error 1.
    assert "91.00 ± t 12.71" in page
    assert "92.00 ± t 25.41" in page
    assert "1.00 ± t 12.71 |" in page  # meta less classic: 0 and 2
    assert "+" not in page.split("## What adaptation gains")[0].split("seeds")[1]


def test_the_page_works_with_one_seed_and_says_how_much_is_done(project):
    page = write_experiments.page(project)
    assert "| `large` |" in page.split("No figures with the present default:")[1]
    assert "1 seed," in page and f"Done with the present default: 0 of {len(STUDIES)}" in page


def test_figures_of_another_default_count_as_missing(project):
    (project / "params.yaml").write_text("seed: 1\nweight_decay: 0.1\n")
    digest = run_studies.default_digest({"seed": 2}, project)
    result = {"why": "", "default": digest, "parameters": {"seed": 2}, "classic": metrics(0), "meta": metrics(0)}
    write_json(project / "studies/seed_2.json", result | {"classes": classes(0)})
    assert "2 seeds," in write_experiments.page(project)
    (project / "params.yaml").write_text("seed: 1\nweight_decay: 0.2\n")
    assert "1 seed," in write_experiments.page(project)


def test_what_luck_does_to_one_run_beside_the_mean_of_three():
    # Variances of 1 and 3 points^2 pool to 2; Student's t with 4 degrees of freedom is 2.776.
    classic, meta = (0.80, 0.81, 0.82), (0.79, 0.79, 0.82)
    runs = zip(("ablation_none", "ablation_seed_2", "ablation_seed_3"), classic, meta, strict=True)
    validation = {
        n: {m: {"validation": {"triplet_accuracy": v}} for m, v in (("classic", c), ("meta", r))} for n, c, r in runs
    }
    changed = {"ablation_norm": {m: {"validation": {"triplet_accuracy": 0.5}} for m in ("classic", "meta")}}
    assert write_experiments.band(validation | changed) == pytest.approx(0.02776 * (2 * 4 / 3) ** 0.5, rel=1e-3)
    assert write_experiments.band({"ablation_none": validation["ablation_none"]}) == 0


def test_a_bootstrap_of_equal_classes_has_no_width():
    assert write_experiments.bootstrap([[0.5, 0.5, 0.5]]) == (0.5, 0.5)
    low, high = write_experiments.bootstrap([[0.0, 1.0] * 50])
    assert 0.38 < low < 0.42 and 0.58 < high < 0.62
