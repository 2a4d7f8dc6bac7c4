"""Timing side by side: contenders take turns, so that a machine's moods fall on all of them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from oneshot.common.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
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


def apart(make: Callable[[], Work]) -> Work:
    """What `make` makes, made and run in a process of its own, which waits between its turns."""
    process = ProcessPoolExecutor(1, get_context("spawn"), initializer=_make, initargs=(make,))
    return lambda: process.submit(_run).result()


_made: list[Work] = []  # in that process


def _make(make: Callable[[], Work]) -> None:
    _made.append(make())


def _run() -> Any:
    return _made[0]()


def spread(values: np.ndarray) -> dict[str, float]:
    """Median and quartiles, to three significant digits; of a ratio: taken round by round."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {name: float(f"{v:.3g}") for name, v in (("median", middle), ("from", low), ("to", high))}


def peak_memory(command: Sequence[str], folder: Path, log: Path) -> float:
    """GiB that a command, or a child of it, held at most.

    Raises:
        UserError: it failed; `log` holds what it printed.
    """
    # A process starts with the peak of the one that starts it: so a small one does, and reports.
    with open(log, "wb") as output:
        done = subprocess.run(
            [sys.executable, "-c", _REPORT, *command], cwd=folder, stdout=subprocess.PIPE, stderr=output
        )
    if done.returncode:
        raise UserError(f"{' '.join(command)} failed; see {log}")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return round(int(done.stdout) * unit / 2**30, 2)


_REPORT = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=sys.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
