"""Pictures are written with the same bytes each time."""

import pytest

from oneshot import plots

ROC = [
    {"fpr": 0.0, "tpr": 0.0, "chosen": 0},
    {"fpr": 0.2, "tpr": 0.7, "chosen": 1},
    {"fpr": 1.0, "tpr": 1.0, "chosen": 0},
]
CURVE = [{"images": 1000, "heldout_triplet_accuracy": 0.6}, {"images": 2000, "heldout_triplet_accuracy": 0.7}]
COLUMNS = [f"{m}_{k}" for m in plots.COLOURS for k in ("triplet_accuracy", "adapted_all_triplet_accuracy")]
BARS = [{"class": name} | dict.fromkeys(COLUMNS, 0.8) for name in ("sweet_pepper", "wolf")]


@pytest.mark.parametrize(
    ("draw", "data"),
    [
        (plots.roc, {"classic": ROC, "meta": ROC}),
        (plots.training_curves, {"classic": CURVE, "meta": CURVE}),
        (plots.class_bars, BARS),
    ],
)
def test_same_data_same_bytes(tmp_path, draw, data):
    for name in ("a.svg", "b.svg"):
        draw(data, tmp_path / name)
    first = (tmp_path / "a.svg").read_bytes()
    assert first == (tmp_path / "b.svg").read_bytes()
    assert first.startswith(b"<?xml") and b"dc:date" not in first
    assert plots.COLOURS["meta"].lower().encode() in first.lower()
