"""Timing side by side: contenders take turns, so that a machine's moods fall on all of them."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Work = Callable[[], Any]


def side_by_side(contenders: Mapping[str, Work], rounds: int, warm_up: int = 1) -> dict[str, np.ndarray]:
    """Seconds (rounds,) of each contender; in every round each runs once."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(warm_up + rounds):
        for name, work in contenders.items():
            began = time.perf_counter()
            work()
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - began)
    return {name: np.array(values) for name, values in seconds.items()}


def spread(values: np.ndarray, digits: int = 3) -> dict[str, float]:
    """Median and quartiles, to so many significant digits."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {name: float(f"{v:.{digits}g}") for name, v in (("median", middle), ("from", low), ("to", high))}


def ratio(of: np.ndarray, to: np.ndarray) -> dict[str, float]:
    """Median and quartiles of the ratio of two contenders, taken round by round."""
    return spread(of / to)


def peak_memory(work: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """What `work` returns in a process of its own, and the GiB that it added to that process at most."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measured, (work, *arguments))


def _measured(work: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    before = peak()
    result = work(*arguments)
    return result, peak() - before


def peak(who: int = resource.RUSAGE_SELF) -> float:
    """GiB that this process (or its children: RUSAGE_CHILDREN) held at most so far."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(who).ru_maxrss * unit / 2**30
