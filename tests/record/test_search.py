"""The searches on validation classes: how far to adapt, and which threshold to take."""

import search
from helpers import make_context


def test_one_pair_is_chosen_by_its_mean_gain_and_no_steps_where_none_gains():
    gains = {(1.0, 5): (0.01, 0.06), (3.0, 20): (0.04, 0.04), (10.0, 20): (-0.02, 0.07)}
    rows = [
        {"learning_rate": rate, "steps": steps, "mean": gain} for (rate, steps), both in gains.items() for gain in both
    ]
    assert search.choose(rows) == (3.0, 20)
    assert search.choose([row | {"mean": -0.1} for row in rows])[1] == 0


def test_gains_are_those_of_validation_classes(tmp_path, small, monkeypatch):
    context = make_context(tmp_path, small, {"split.validation_classes": 2, "evaluation.unseen": False})
    monkeypatch.setattr(search, "LEARNING_RATES", {"map": (0.0001, 1.0)})
    monkeypatch.setattr(search, "STEPS", (2,))
    hardly, more = search.adaptation(context)
    assert list(hardly) == ["learning_rate", "steps", "mean", "adapted_1", "adapted_5", "adapted_all"]
    assert all(abs(hardly[key]) < 0.005 for key in list(hardly)[2:])  # hardly a step, hardly a change
    assert any(abs(more[key]) > 0.001 for key in list(more)[2:])
