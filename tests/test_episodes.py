"""Few-shot accuracy against a plain loop over draws, queries and classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import t as student_t

from oneshot import episodes
from oneshot.episodes import confidence, draw_supports, episode_accuracy, few_shot_accuracy, prototype, sampled_episodes
from oneshot.errors import UserError


def smooth(count: int, seed: int, dimensions: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, dimensions, generator=generator), dim=1)


def coarse(count: int, seed: int) -> torch.Tensor:
    """Corners of a cube, so that prototypes are often equally near."""
    return torch.randint(0, 2, (count, 4), generator=torch.Generator().manual_seed(seed)).float() - 0.5


BOTH = pytest.mark.parametrize("vectors", [smooth, coarse])


def task(vectors) -> tuple[list[torch.Tensor], torch.Tensor, np.ndarray]:
    """Supports of three classes of different sizes, and 25 queries."""
    supports = [vectors(size, seed) for seed, size in enumerate((5, 7, 9))]
    return supports, vectors(25, 10), np.random.default_rng(0).integers(0, 3, 25)


def slow_accuracy(supports, queries, classes, shots: int, draw: int, seed: int) -> float:
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


@BOTH
@pytest.mark.parametrize("shots", [1, 2, 3, 5])
def test_accuracy_of_every_draw(vectors, shots):
    supports, queries, classes = task(vectors)
    found = few_shot_accuracy(supports, queries, classes, shots, draws=6, seed=3)
    slow = [slow_accuracy(supports, queries, classes, shots, draw, 3) for draw in range(6)]
    assert found.per_draw == pytest.approx(slow, abs=1e-12)
    assert found.accuracy == pytest.approx(np.mean(slow))
    assert found.ci95 == pytest.approx(student_t.ppf(0.975, 5) * np.std(slow, ddof=1) / 6**0.5)


def test_sampled_episodes_by_a_slow_count():
    pool = [smooth(12 + label, label) for label in range(4)]
    found = sampled_episodes(pool, ways=3, shots=2, queries=5, episodes=8, seed=1)
    slow = []
    for episode in range(8):
        random = episodes.random_stream(1, "episodes", 0, 3, 2, episode)
        classes = random.choice(4, 3, replace=False)
        rows = [random.choice(len(pool[c]), 7, replace=False) for c in classes]
        means = [np.mean(pool[c][r[:2]].double().numpy(), axis=0) for c, r in zip(classes, rows, strict=True)]
        right = 0
        for own, (c, r) in enumerate(zip(classes, rows, strict=True)):
            for query in pool[c][r[2:]].double().numpy():
                cosines = [query @ mean / np.linalg.norm(mean) for mean in means]
                right += int(np.argmax(cosines) == own)
        slow.append(right / 15)
    assert found.per_draw == pytest.approx(slow)


def test_a_sampled_episode_needs_enough_classes_and_images():
    pool = [smooth(6, label) for label in range(3)]
    with pytest.raises(UserError, match="episode_ways: found 4; must be at most 3"):
        sampled_episodes(pool, 4, 1, 2, 2, 0)
    with pytest.raises(UserError, match="episode_queries: found 6; must be at most 5"):
        sampled_episodes(pool, 3, 1, 6, 2, 0)


@BOTH
def test_blocks_of_draws_do_not_matter(vectors, monkeypatch):
    supports, queries, classes = task(vectors)
    whole = few_shot_accuracy(supports, queries, classes, shots=2, draws=7, seed=3)
    for block in (1, 3 * 25 * 2):
        monkeypatch.setattr(episodes, "_BLOCK", block)
        again = few_shot_accuracy(supports, queries, torch.from_numpy(classes), shots=2, draws=7, seed=3)
        assert np.array_equal(again.per_draw, whole.per_draw)
        assert again[:2] == whole[:2]


def test_a_tensor_of_supports_does_as_a_list():
    pools = torch.stack([smooth(5, 0), smooth(5, 1)])
    queries, classes = smooth(9, 2), torch.arange(9) % 2
    whole = few_shot_accuracy(pools, queries, classes, 2, 4, 1)
    assert np.array_equal(whole.per_draw, few_shot_accuracy(list(pools), queries, classes, 2, 4, 1).per_draw)


def test_all_supports_leave_nothing_to_chance():
    pools, queries, classes = task(smooth)
    pools = [pool[:5] for pool in pools]
    found = few_shot_accuracy(pools, queries, classes, shots=5, draws=10, seed=0)
    assert found.ci95 == 0
    assert len(set(found.per_draw.tolist())) == 1


def test_ties_share():
    east, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    prototypes = torch.stack([torch.stack([east, east, north]), torch.stack([north, north, north])])
    queries = torch.stack([east, east, north])
    # First episode: halves for classes 0 and 1, all for 2; second: every query is a third right.
    assert episode_accuracy(prototypes, queries, torch.tensor([0, 1, 2])).tolist() == [2 / 3, pytest.approx(1 / 3)]
    assert episode_accuracy(prototypes, queries[:1], torch.tensor([2])).tolist() == [0, pytest.approx(1 / 3)]


def test_equal_supports_tie_wherever_they_stand():
    pool = smooth(4, 0, 64)
    same = [pool, pool.flip(0)] * 20
    found = few_shot_accuracy(same, smooth(30, 1, 64), np.zeros(30, dtype=np.int64), shots=4, draws=2, seed=0)
    assert found.per_draw.tolist() == pytest.approx([1 / 40, 1 / 40])


def test_prototype_is_the_direction_of_the_mean():
    supports = smooth(12, 0).view(3, 4, 6)
    found = prototype(supports)
    assert found.dtype == torch.float32
    means = supports.mean(dim=1)
    assert torch.allclose(found, means / means.norm(dim=1, keepdim=True), atol=1e-6)
    assert torch.equal(found, prototype(supports.flip(1)))
    assert torch.equal(prototype(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])), torch.zeros(2))


def test_draws_are_without_replacement_and_reproducible():
    for draw in range(20):
        chosen = draw_supports([4, 9], 4, draw, seed=5)
        assert sorted(chosen[0].tolist()) == [0, 1, 2, 3]
        assert len(set(chosen[1].tolist())) == 4
        assert chosen[1].max() < 9
        again = draw_supports([4, 9], 4, draw, seed=5)
        assert all(np.array_equal(a, b) for a, b in zip(chosen, again, strict=True))


def test_draws_differ_by_draw_seed_and_shots():
    def drawn(shots: int, draw: int, seed: int) -> tuple[int, ...]:
        return tuple(draw_supports([1000, 1000], shots, draw, seed)[0][:1].tolist())

    assert len({drawn(1, draw, 0) for draw in range(10)}) > 5
    assert len({drawn(1, 0, seed) for seed in range(10)}) > 5
    assert len({drawn(shots, 0, 0) for shots in range(1, 11)}) > 5


def test_draws_cover_all_supports_evenly():
    drawn = [draw_supports([5, 5], 1, draw, seed=0)[1][0] for draw in range(1000)]
    assert np.bincount(drawn, minlength=5) == pytest.approx(200, abs=60)


def test_confidence_by_hand():
    found = confidence([0.4, 0.6])
    assert found.accuracy == pytest.approx(0.5)
    assert found.ci95 == pytest.approx(12.706204736 * 0.1)  # Student's t for one degree of freedom
    with pytest.raises(ValueError, match="at least 2"):
        confidence([0.5])


def test_what_cannot_be_drawn_is_refused():
    supports, queries, classes = task(smooth)
    with pytest.raises(UserError, match="shots: found 6; must be 1 to 5"):
        few_shot_accuracy(supports, queries, classes, shots=6, draws=2, seed=0)
    with pytest.raises(UserError, match="shots: found 0"):
        few_shot_accuracy(supports, queries, classes, shots=0, draws=2, seed=0)
    with pytest.raises(UserError, match=r"supports: found 1 class\(es\)"):
        few_shot_accuracy(supports[:1], queries, classes, shots=1, draws=2, seed=0)
    with pytest.raises(UserError, match="queries: found none"):
        few_shot_accuracy(supports, queries[:0], classes[:0], shots=1, draws=2, seed=0)
    with pytest.raises(UserError, match="episode_draws: found 1"):
        few_shot_accuracy(supports, queries, classes, shots=1, draws=1, seed=0)


def test_query_classes_must_fit():
    supports, queries, classes = task(smooth)
    for bad in (classes + 1, classes - 1):
        with pytest.raises(ValueError, match=r"0\.\.2"):
            few_shot_accuracy(supports, queries, bad, shots=1, draws=2, seed=0)
    with pytest.raises(ValueError, match="shape"):
        few_shot_accuracy(supports, queries, classes[:-1], shots=1, draws=2, seed=0)
