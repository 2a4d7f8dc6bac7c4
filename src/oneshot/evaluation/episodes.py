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
from scipy.special import stdtrit  # of scipy.stats.t, which takes half a second to import
from torch import Tensor

from oneshot.data.sampling import random_stream
from oneshot.evaluation.metrics import BLOCK, Labels, on_grid, similarities

HEADLINE_SHOTS = (1, 5)  # numbers of supports that are always measured
DRAWS = 200  # of supports, where all classes of a group are told apart
EPISODES, WAYS, QUERIES = 2000, 5, 15  # small episodes, their classes, and queries of each class: as papers have it


class Estimate(NamedTuple):
    """The mean of some figures, and the half-width of its 95 % interval (Student's)."""

    mean: float
    ci95: float

    def accuracy(self) -> dict[str, float]:
        """As figures of an accuracy."""
        return {"accuracy": self.mean, "ci95": self.ci95}


def few_shot_accuracy(
    supports: Sequence[Tensor] | Tensor, queries: Tensor, query_classes: Labels, shots: int, seed: int
) -> Estimate:
    """N-way `shots`-shot accuracy over all N classes and all queries, for `DRAWS` draws of supports.

    Snell, Swersky, Zemel, "Prototypical Networks for Few-shot Learning" (2017), with cosine similarity.

    Args:
        supports: for each class, (S, D) unit vectors to draw from; S may differ between classes.
        queries: (Q, D) unit vectors.
        query_classes: (Q,) positions in `supports`.
        shots: supports of each class in a draw, without replacement.
        seed: the same seed, shots and numbers of supports give the same draws, whatever the embeddings.
    """
    sizes = [len(pool) for pool in supports]
    chosen = [draw_supports(sizes, shots, draw, seed) for draw in range(DRAWS)]
    by_class = [torch.from_numpy(np.stack(rows)) for rows in zip(*chosen, strict=True)]  # N of (DRAWS, shots)
    accuracies: list[float] = []
    step = max(1, BLOCK // (len(sizes) * max(1, len(queries), shots * queries.shape[1])))
    for first in range(0, DRAWS, step):
        drawn = (pool[rows[first : first + step]] for pool, rows in zip(supports, by_class, strict=True))
        accuracies += episode_accuracy(torch.stack(list(map(prototype, drawn)), dim=1), queries, query_classes)
    return estimate(accuracies)


def sampled_episodes(pool: Sequence[Tensor], shots: int, seed: int) -> Estimate:
    """N-way `shots`-shot accuracy as papers report it: over `EPISODES` small episodes, each of a few random classes.

    An episode draws `WAYS` classes, and of each `shots` supports and `QUERIES` other images as queries. It has fewer
    where there are fewer classes or images.

    Args:
        pool: for each class, (S, D) unit vectors, S > shots.
        seed: the same seed, shots and sizes of classes give the same episodes, whatever the embeddings.
    """
    sizes = [len(vectors) for vectors in pool]
    ways, queries = min(WAYS, len(pool)), min(QUERIES, min(sizes) - shots)
    query_classes = np.repeat(np.arange(ways), queries)
    accuracies: list[float] = []
    for episode in range(EPISODES):
        random = random_stream(seed, "episodes", 0, ways, shots, episode)
        classes = random.choice(len(pool), ways, replace=False)
        drawn = [pool[label][random.choice(sizes[label], shots + queries, replace=False)] for label in classes]
        prototypes = prototype(torch.stack([vectors[:shots] for vectors in drawn]))
        rest = torch.cat([vectors[shots:] for vectors in drawn])
        accuracies += episode_accuracy(prototypes[None], rest, query_classes)
    return estimate(accuracies)


def draw_supports(sizes: Sequence[int], shots: int, draw: int, seed: int) -> list[NDArray[np.int64]]:
    """For each class, `shots` different positions below its number of images; each draw is its own stream."""
    random = random_stream(seed, "episodes", shots, draw)
    return [random.choice(size, shots, replace=False) for size in sizes]


def prototype(supports: Tensor) -> Tensor:
    """The direction (..., D) of the mean of (..., K, D) unit vectors: a float32 unit vector.

    The sum is exact, so that the order of the supports is of no account; opposite supports give zeros.
    """
    return torch.nn.functional.normalize(on_grid(supports).sum(dim=-2), dim=-1).float()


def episode_accuracy(prototypes: Tensor, queries: Tensor, query_classes: Labels) -> list[float]:
    """Share of queries nearest to the prototype of their own class, for each of E episodes.

    Where k prototypes are equally near, the right one among them, the query counts 1/k.

    Args:
        prototypes: (E, N, D) unit vectors.
        queries: (Q, D) unit vectors, the same in each episode.
        query_classes: (Q,) in 0..N-1.

    Returns:
        E accuracies in 0..1.
    """
    episodes, classes, _ = prototypes.shape
    targets = torch.as_tensor(query_classes)
    cosines = similarities(on_grid(queries), on_grid(prototypes.flatten(0, 1))).view(-1, episodes, classes)
    nearest = cosines == cosines.amax(dim=-1, keepdim=True)
    right = nearest.gather(-1, targets.view(-1, 1, 1).expand(-1, episodes, 1)).squeeze(-1)
    return (right.double() / nearest.sum(dim=-1)).mean(dim=0).tolist()


def estimate(figures: ArrayLike) -> Estimate:
    """Mean of (E,) figures, E >= 2, and the half-width of Student's 95 % interval of that mean."""
    values = np.asarray(figures, dtype=np.float64).tolist()
    error = stdev(values) / len(values) ** 0.5  # exact: 0 where all agree
    return Estimate(mean(values), float(stdtrit(len(values) - 1, 0.975)) * error)


def shot_name(shots: int) -> str:
    """What metrics call N-way K-shot classification with `shots` supports of each class."""
    return {1: "one_shot", 5: "five_shot"}.get(shots, f"{shots}_shot")
