"""How sure a figure is: intervals over seeds and over classes, and what luck does to a single run."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, variance

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit  # of scipy.stats.t, which takes half a second to import

from oneshot.evaluation.episodes import estimate


def interval(values: ArrayLike, sure: float = 0.95) -> tuple[float, float | None]:
    """Mean of (N,) values, and the half-width of Student's interval that holds so `sure`; None of a single value."""
    values = np.asarray(values, dtype=np.float64)
    if (last := len(values) - 1) == 0:
        return float(values[0]), None
    found = estimate(values)
    return found.mean, found.ci95 * float(stdtrit(last, (1 + sure) / 2) / stdtrit(last, 0.975))


def luck_band(groups: Sequence[Sequence[float]]) -> float:
    """Half-width of the 95 % interval of the difference between one run and the mean of the unchanged ones.

    Args:
        groups: for each training, the figures of the unchanged runs, one a seed.

    Returns:
        Student's, with the variance over seeds pooled over the trainings; 0 where there is one seed.
    """
    if (seeds := len(groups[0])) < 2:
        return 0.0
    pooled = mean(variance(values) for values in groups)
    return float(stdtrit(len(groups) * (seeds - 1), 0.975)) * (pooled * (1 + 1 / seeds)) ** 0.5
