"""Few-shot accuracy against a plain loop over draws, queries and classes."""

import numpy as np
import pytest
import torch
from scipy.stats import t as student_t
from test_metrics import coarse, smooth

from oneshot.evaluation import episodes
from oneshot.evaluation.episodes import draw_supports, few_shot_accuracy, sampled_episodes

BOTH = pytest.mark.parametrize("vectors", [smooth, coarse])


def task(vectors):
    """Supports of three classes of different sizes, and 25 queries."""
    supports = [vectors(size, seed) for seed, size in enumerate((5, 7, 9))]
    return supports, vectors(25, 10), np.random.default_rng(0).integers(0, 3, 25)


def slow_accuracy(supports, queries, classes, shots, draw, seed):
    chosen = draw_supports([len(pool) for pool in supports], shots, draw, seed)
    prototypes = []
    for pool, rows in zip(supports, chosen, strict=True):
        mean = np.mean([pool[row].double().numpy() for row in rows], axis=0)
        prototypes.append(mean / max(np.linalg.norm(mean), 1e-12))
    share = 0.0
    for query, own in zip(queries, classes, strict=True):
        cosines = [float(np.dot(query.double().numpy(), direction)) for direction in prototypes]
        nearest = [c for c, value in enumerate(cosines) if value > max(cosines) - 1e-6]
        share += (own in nearest) / len(nearest)
    return share / len(queries)


def same_estimate(found, values):
    """Whether it is the mean of some figures, and the half-width of its interval."""
    error = np.std(values, ddof=1) / len(values) ** 0.5
    return found == pytest.approx((np.mean(values), student_t.ppf(0.975, len(values) - 1) * error), abs=1e-12)


@BOTH
@pytest.mark.parametrize("shots", [1, 2, 5])
def test_accuracy_by_a_slow_count(vectors, shots, monkeypatch):
    monkeypatch.setattr(episodes, "DRAWS", 6)
    supports, queries, classes = task(vectors)
    found = few_shot_accuracy(supports, queries, classes, shots, seed=3)
    assert same_estimate(found, [slow_accuracy(supports, queries, classes, shots, draw, 3) for draw in range(6)])


@pytest.mark.parametrize(("ways", "queries"), [(3, 5), (9, 5), (3, 50)])
def test_sampled_episodes_by_a_slow_count(ways, queries, monkeypatch):
    """There are 4 classes, and 10 queries of the smallest: more are not asked for."""
    for name, value in (("EPISODES", 8), ("WAYS", ways), ("QUERIES", queries)):
        monkeypatch.setattr(episodes, name, value)
    pool = [smooth(12 + label, label) for label in range(4)]
    found, slow, ways, queries = sampled_episodes(pool, shots=2, seed=1), [], min(ways, 4), min(queries, 10)
    for episode in range(8):
        random = episodes.random_stream(1, "episodes", 0, ways, 2, episode)
        classes = random.choice(4, ways, replace=False)
        rows = [random.choice(len(pool[c]), 2 + queries, replace=False) for c in classes]
        means = [np.mean(pool[c][r[:2]].double().numpy(), axis=0) for c, r in zip(classes, rows, strict=True)]
        right = 0
        for own, (c, r) in enumerate(zip(classes, rows, strict=True)):
            for query in pool[c][r[2:]].double().numpy():
                cosines = [query @ mean / np.linalg.norm(mean) for mean in means]
                right += int(np.argmax(cosines) == own)
        slow.append(right / (ways * queries))
    assert same_estimate(found, slow)


@BOTH
def test_blocks_of_draws_and_kinds_of_arrays_do_not_matter(vectors, monkeypatch):
    monkeypatch.setattr(episodes, "DRAWS", 7)
    supports, queries, classes = task(vectors)
    whole = few_shot_accuracy(supports, queries, classes, shots=2, seed=3)
    for block in (1, 3 * 25 * 2):
        monkeypatch.setattr(episodes, "BLOCK", block)
        assert few_shot_accuracy(supports, queries, torch.from_numpy(classes), shots=2, seed=3) == whole
    equal = torch.stack([pool[:5] for pool in supports])
    whole = few_shot_accuracy(list(equal), queries, classes, shots=2, seed=3)
    assert few_shot_accuracy(equal, queries, classes, shots=2, seed=3) == whole


def test_equal_supports_tie_wherever_they_stand():
    pool = smooth(4, 0, 64)
    same = [pool, pool.flip(0)] * 20
    found = few_shot_accuracy(same, smooth(30, 1, 64), np.zeros(30, dtype=np.int64), shots=4, seed=0)
    assert found == pytest.approx((1 / 40, 0), abs=1e-12)


def test_draws_are_without_replacement_even_and_of_draw_seed_and_shots():
    for draw in range(20):
        chosen, again = (draw_supports([4, 9], 4, draw, seed=5) for _ in range(2))
        assert sorted(chosen[0].tolist()) == [0, 1, 2, 3]
        assert len(set(chosen[1].tolist())) == 4 and chosen[1].max() < 9
        assert all(np.array_equal(a, b) for a, b in zip(chosen, again, strict=True))
    for places in ([(1, n, 0) for n in range(10)], [(1, 0, n) for n in range(10)], [(n, 0, 0) for n in range(1, 11)]):
        assert len({draw_supports([1000], *place)[0][0] for place in places}) > 5
    drawn = [draw_supports([5, 5], 1, draw, seed=0)[1][0] for draw in range(1000)]
    assert np.bincount(drawn, minlength=5) == pytest.approx(200, abs=60)
