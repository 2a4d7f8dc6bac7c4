"""The table of experiments: short, and never wider than 120 columns."""

from __future__ import annotations

import pytest
from experiments import METRICS, WIDTH, table
from helpers import ROOT

from oneshot.params import Params, load_params

BASE = {key: str(value) for key, value in load_params(ROOT / "params.yaml")}
FIGURES = {f"metrics/evaluation.json:{key}": "0.123456" for key in METRICS}


def row(name: str, **changes: str) -> dict[str, str]:
    return {"Experiment": name, "rev": "main", **FIGURES, **BASE, **changes}


def test_shows_only_the_parameters_that_differ() -> None:
    head, baseline, changed = table([row(""), row("brave-fox", meta_step="0.5")]).splitlines()
    assert head.split()[:2] == ["experiment", "meta_step"]
    assert baseline.split()[:2] == ["main", BASE["meta_step"]]
    assert changed.split() == ["brave-fox", "0.5", *["0.1235"] * len(METRICS)]


def test_a_queued_experiment_has_no_figures_yet() -> None:
    waiting = row("brave-fox", State="Queued") | dict.fromkeys(FIGURES, "")
    _, _, last = table([row("", State=""), waiting]).splitlines()
    assert last.split() == ["brave-fox", "Queued", *["-"] * len(METRICS)]


@pytest.mark.parametrize("differing", [1, 10, len(Params.model_fields)])
def test_fits_the_width_and_names_what_it_leaves_out(differing: int) -> None:
    keys = list(Params.model_fields)[:differing]
    *lines, last = table([row("x" * 99), row("y" * 99, **dict.fromkeys(keys, "another value"))]).splitlines()
    assert max(map(len, lines)) <= WIDTH
    shown = lines[0].split()
    assert [key for key in keys if key not in shown and key not in last] == []
