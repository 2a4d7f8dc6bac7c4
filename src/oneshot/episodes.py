"""N-way K-shot classification by prototypes, on embeddings that were computed once.

A class's prototype is the mean of its K support embeddings; a query goes to the nearest one.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student_t
from torch import Tensor

from oneshot.errors import UserError
from oneshot.metrics import Labels, on_grid, similarities
from oneshot.sampling import random_stream

_BLOCK = 2**22  # similarities computed at a time: 32 MiB in float64


class FewShot(NamedTuple):
    """Accuracy in 0..1 over draws of supports: mean, half-width of its 95 % interval, and each draw's (E,)."""

    accuracy: float
    ci95: float
    per_draw: NDArray[np.float64]


def few_shot_accuracy(
    supports: Sequence[Tensor] | Tensor,
    queries: Tensor,
    query_classes: Labels,
    shots: int,
    draws: int,
    seed: int,
) -> FewShot:
    """N-way `shots`-shot accuracy over all N classes and all queries, for `draws` draws of supports.

    Snell, Swersky, Zemel, "Prototypical Networks for Few-shot Learning" (2017), with cosine similarity.

    Args:
        supports: for each class, (S, D) unit vectors to draw from; S may differ between classes.
        queries: (Q, D) unit vectors.
        query_classes: (Q,) positions in `supports`.
        shots: supports of each class in a draw, without replacement.
        draws: number of draws; at least 2 for an interval.
        seed: the same seed, shots and numbers of supports give the same draws, whatever the embeddings.

    Raises:
        UserError: fewer than 2 classes, a class with fewer supports than `shots`, no queries, or `draws` < 2.
    """
    sizes = [len(pool) for pool in supports]
    if draws < 2:
        raise UserError(f"episode_draws: found {draws}; an interval needs at least 2")
    chosen = [draw_supports(sizes, shots, draw, seed) for draw in range(draws)]
    by_class = [torch.from_numpy(np.stack(rows)) for rows in zip(*chosen, strict=True)]  # N of (draws, shots)
    per_draw = []
    step = max(1, _BLOCK // (len(sizes) * max(1, len(queries), shots * queries.shape[1])))
    for first in range(0, draws, step):
        prototypes = torch.stack(
            [prototype(pool[rows[first : first + step]]) for pool, rows in zip(supports, by_class, strict=True)],
            dim=1,
        )
        per_draw.append(episode_accuracy(prototypes, queries, query_classes))
    return confidence(np.concatenate(per_draw))


def sampled_episodes(pool: Sequence[Tensor], ways: int, shots: int, queries: int, episodes: int, seed: int) -> FewShot:
    """`ways`-way `shots`-shot accuracy as papers report it: many small episodes, each of a few random classes.

    An episode draws `ways` classes, and of each `shots` supports and `queries` other images as queries.

    Args:
        pool: for each class, (S, D) unit vectors, S >= shots + queries.
        seed: the same seed, ways, shots, queries and sizes of classes give the same episodes, whatever the embeddings.

    Raises:
        UserError: fewer classes than `ways`, or a class with too few images.
    """
    sizes = [len(vectors) for vectors in pool]
    if len(pool) < ways:
        raise UserError(f"params.yaml: episode_ways: found {ways}; must be at most {len(pool)}, the new classes")
    if min(sizes) < shots + queries:
        raise UserError(
            f"params.yaml: episode_queries: found {queries}; must be at most {min(sizes) - shots}: "
            f"a class has {min(sizes)} images, {shots} of them supports"
        )
    query_classes = np.repeat(np.arange(ways), queries)
    accuracies: list[float] = []
    for episode in range(episodes):
        random = random_stream(seed, "episodes", 0, ways, shots, episode)
        classes = random.choice(len(pool), ways, replace=False)
        drawn = [pool[label][random.choice(sizes[label], shots + queries, replace=False)] for label in classes]
        prototypes = prototype(torch.stack([vectors[:shots] for vectors in drawn]))
        rest = torch.cat([vectors[shots:] for vectors in drawn])
        accuracies += episode_accuracy(prototypes[None], rest, query_classes).tolist()
    return confidence(accuracies)


def draw_supports(sizes: Sequence[int], shots: int, draw: int, seed: int) -> list[NDArray[np.int64]]:
    """For each class, `shots` different positions below its number of images; each draw is its own stream.

    Raises:
        UserError: fewer than 2 classes, or a class with fewer images than `shots`.
    """
    if len(sizes) < 2:
        raise UserError(f"supports: found {len(sizes)} class(es); classification needs at least 2")
    if shots < 1 or shots > min(sizes):
        raise UserError(f"shots: found {shots}; must be 1 to {min(sizes)}, the support images of the smallest class")
    random = random_stream(seed, "episodes", shots, draw)
    return [random.choice(size, shots, replace=False) for size in sizes]


def prototype(supports: Tensor) -> Tensor:
    """The direction (..., D) of the mean of (..., K, D) unit vectors: a float32 unit vector.

    The sum is exact, so that the order of the supports is of no account; opposite supports give zeros.
    """
    total = on_grid(supports.flatten(0, -2)).view(supports.shape).sum(dim=-2)
    return torch.nn.functional.normalize(total, dim=-1).float()


def episode_accuracy(prototypes: Tensor, queries: Tensor, query_classes: Labels) -> NDArray[np.float64]:
    """Share of queries nearest to the prototype of their own class, for each of E episodes.

    Where k prototypes are equally near, the right one among them, the query counts 1/k.

    Args:
        prototypes: (E, N, D) unit vectors.
        queries: (Q, D) unit vectors, the same in each episode.
        query_classes: (Q,) in 0..N-1.

    Returns:
        (E,) float64 in 0..1.

    Raises:
        UserError: no queries.
    """
    episodes, classes, _ = prototypes.shape
    targets = torch.from_numpy(np.asarray(query_classes).astype(np.int64))
    if targets.shape != (len(queries),):
        raise ValueError(f"query_classes must have shape ({len(queries)},), not {tuple(targets.shape)}")
    if not len(queries):
        raise UserError("queries: found none; at least 1 is needed")
    if targets.min() < 0 or targets.max() >= classes:
        raise ValueError(f"query_classes must be in 0..{classes - 1}")
    cosines = similarities(on_grid(queries), on_grid(prototypes.flatten(0, 1))).view(-1, episodes, classes)
    nearest = cosines == cosines.amax(dim=-1, keepdim=True)
    right = nearest.gather(-1, targets.view(-1, 1, 1).expand(-1, episodes, 1)).squeeze(-1)
    shares = right.double() / nearest.sum(dim=-1)
    return shares.mean(dim=0).numpy()


def confidence(per_draw: ArrayLike) -> FewShot:
    """Mean of (E,) accuracies, E >= 2, and the half-width of Student's 95 % interval of that mean."""
    values = np.asarray(per_draw, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"per_draw must hold at least 2 accuracies, not shape {values.shape}")
    error = stdev(values.tolist()) / len(values) ** 0.5  # exact: 0 where all draws agree
    return FewShot(mean(values.tolist()), float(student_t.ppf(0.975, len(values) - 1)) * error, values)
