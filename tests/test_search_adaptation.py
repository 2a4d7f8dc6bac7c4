"""The searches on validation classes: how far to adapt, and which threshold to take."""

from __future__ import annotations

from pathlib import Path

import pytest
import search_adaptation
import search_threshold
from helpers import make_context

from oneshot.data.dataset import Dataset

CHANGES = {"split.validation_classes": 2, "evaluation.unseen": False}


def test_one_pair_is_chosen_by_its_mean_gain_and_no_steps_where_none_gains() -> None:
    gains = {(1.0, 5): (0.01, 0.06), (3.0, 20): (0.04, 0.04), (10.0, 20): (-0.02, 0.07)}
    rows = [
        {"method": method, "shots": "1", "learning_rate": rate, "steps": steps, "gain": gain}
        for (rate, steps), both in gains.items()
        for method, gain in zip(("classic", "meta"), both, strict=True)
    ]
    assert search_adaptation.choose(rows) == (3.0, 20)
    assert search_adaptation.choose([row | {"gain": -0.1} for row in rows])[1] == 0


def test_gains_are_those_of_validation_classes(tmp_path: Path, small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_adaptation, "RATES", {"map": (0.0001, 1.0)})
    monkeypatch.setattr(search_adaptation, "STEPS", (2,))
    rows = search_adaptation.search(make_context(tmp_path, small, CHANGES), "classic")
    assert [row["shots"] for row in rows] == ["1"] * 2 + ["5"] * 2 + ["all"] * 2
    assert all(abs(row["gain"]) < 0.005 for row in rows if row["learning_rate"] < 1)  # hardly a step, hardly a change
    assert any(abs(row["gain"]) > 0.001 for row in rows if row["learning_rate"] == 1)


def test_the_best_rate_loses_nothing(tmp_path: Path, small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    context = make_context(tmp_path, small, CHANGES)
    found = search_threshold.losses(context)
    assert 0.5 <= found["best_accuracy"] <= 1 and 0 <= found["best_fpr_seen"] <= 1
    lost = {name: value for name, value in found.items() if not name.startswith("best")}
    assert all(0 <= value <= 0.5 for value in lost.values()) and len(lost) == 2 + len(search_threshold.RATES)
    # The rate is rounded: a rate a little above it lets the threshold down to the best one, and hardly further.
    monkeypatch.setattr(search_threshold, "RATES", (found["best_fpr_seen"] + 0.0001,))
    (lost_at_best,) = (value for name, value in search_threshold.losses(context).items() if name.startswith("fpr"))
    assert lost_at_best < 0.03 and lost_at_best <= max(lost.values())
