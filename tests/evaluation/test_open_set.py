"""Open-set identification against counting one by one, and on classes that are told apart or not at all."""

import numpy as np
import torch
from torch.nn import functional as F

from oneshot.evaluation.open_set import DRAWS, WISHED, open_set, strict_rate


def classes(count, spread, seed=0):
    rng = torch.Generator().manual_seed(seed)
    middles = F.normalize(torch.randn(count, 16, generator=rng), dim=1)
    return [F.normalize(middle + spread * torch.randn(40, 16, generator=rng), dim=1) for middle in middles]


def test_classes_far_apart_are_named_and_alike_ones_by_chance():
    far = open_set(classes(8, 0.02), classes(8, 0.02), seed=1)
    assert all(row["identified"] == 1 for row in far.values())
    alike = [F.normalize(torch.randn(400, 16, generator=torch.Generator().manual_seed(c)), dim=1) for c in range(8)]
    for wished, row in zip(WISHED, open_set(alike, alike, seed=1).values(), strict=True):
        assert abs(row["identified"] - wished / 4) < 0.02  # passes as a stranger does, and names one of four
        assert abs(row["found"] - wished) < 0.04  # single pictures, independent: what the rule is made for


def test_figures_are_those_of_counting_one_by_one(monkeypatch):
    monkeypatch.setattr("oneshot.evaluation.open_set.DRAWS", 1)
    tests = classes(5, 0.3)
    orders = []
    rng = np.random.default_rng
    monkeypatch.setattr("oneshot.evaluation.open_set.random_stream", lambda *place: orders.append(place) or rng(3))
    found = open_set([pool[:1] for pool in tests], tests, seed=9)
    known, strangers = np.split(rng(3).permutation(5), [3])
    alien = sorted(max(float(v @ tests[k][0]) for k in known) for c in strangers for v in tests[c])
    threshold, right = np.quantile(alien, 0.9), 0
    for label in known:
        for vector in tests[label]:
            cosines = {other: float(vector @ tests[other][0]) for other in known}
            right += max(cosines, key=cosines.get) == label and cosines[label] >= threshold
    assert found["false_alarms_10"]["identified"] == right / 120
    pairs = [float(a @ b) for k in known for o in known if k < o for a in tests[k] for b in tests[o]]
    strict = np.quantile(pairs, 0.9 ** (1 / 3))
    assert abs(found["false_alarms_10"]["found"] - np.mean([score >= strict for score in alien])) < 1 / 80 + 1e-9
    assert orders == [(9, "open_set", 0)] and DRAWS > 1


def test_one_class_enrolled_has_no_pairs_to_set_a_threshold_by():
    assert list(open_set(classes(2, 0.1), classes(2, 0.1), seed=1)["false_alarms_5"]) == ["identified"]
    assert abs(strict_rate(0.05, 1) - 0.05) < 1e-12
