"""The search for how far to adapt prints what params.yaml takes."""

import sys

from helpers import ROOT, make_subject

sys.path.insert(0, str(ROOT / "scripts"))

import search_adaptation
import search_threshold

from oneshot.adaptation import Pace


def test_paces_are_in_the_order_of_the_parameters():
    rows = [{"shots": shots} for shots in ("all", "30", "5", "1", "30")]
    assert search_adaptation.names(rows) == ["1", "5", "30", "all"]


def test_the_best_gain_is_chosen_and_no_steps_where_none_gains():
    rows = [
        {"gain": 0.01, "steps": 5, "learning_rate": 1.0},
        {"gain": 0.03, "steps": 20, "learning_rate": 3.0},
        {"gain": 0.02, "steps": 20, "learning_rate": 1.0},
    ]
    assert search_adaptation.choose(rows) == Pace(20, 3.0)
    assert search_adaptation.choose([row | {"gain": -row["gain"]} for row in rows]).steps == 0


def test_gains_are_those_of_validation_classes(tmp_path, small, monkeypatch):
    monkeypatch.setattr(search_adaptation, "RATES", {"metric": (0.0001, 1.0)})
    monkeypatch.setattr(search_adaptation, "STEPS", (2,))
    subject = make_subject(tmp_path, small, validation_classes=2, evaluate_unseen=False)
    rows = search_adaptation.search(subject, "classic")
    assert [row["shots"] for row in rows] == ["all"] * 2 + ["5"] * 2 + ["1"] * 2
    assert all(abs(row["gain"]) < 0.005 for row in rows if row["learning_rate"] < 1)  # hardly a step, hardly a change
    assert any(abs(row["gain"]) > 0.001 for row in rows if row["learning_rate"] == 1)


def test_the_best_rate_loses_nothing(tmp_path, small, monkeypatch):
    subject = make_subject(tmp_path, small, validation_classes=2, evaluate_unseen=False)
    found = search_threshold.losses(subject)
    assert 0.5 <= found["best_accuracy"] <= 1 and 0 <= found["best_fpr_seen"] <= 1
    lost = {name: value for name, value in found.items() if not name.startswith("best")}
    assert all(0 <= value <= 0.5 for value in lost.values()) and len(lost) == 2 + len(search_threshold.RATES)
    # The rate is rounded: a rate a little above it lets the threshold down to the best one, and hardly further.
    monkeypatch.setattr(search_threshold, "RATES", (found["best_fpr_seen"] + 0.0001,))
    (lost_at_best,) = (value for name, value in search_threshold.losses(subject).items() if name.startswith("fpr"))
    assert lost_at_best < 0.03 and lost_at_best <= max(lost.values())
