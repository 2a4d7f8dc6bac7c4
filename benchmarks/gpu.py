"""What recording a step's launches brings on a GPU."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import torch
from timing import Work, side_by_side, spread
from training import Trainers

from oneshot.hardware import recording

STEPS = 200  # in a turn


def recorded_steps(trainers: Trainers, rounds: int) -> dict[str, Any] | None:
    """Images a second of both trainings, launched one by one and recorded; None without a GPU."""
    if not torch.cuda.is_available():
        return None
    with patch.object(recording, "WARM_UP", 10**9):
        eager = trainers.classic(STEPS // 10)
        eager()
    contenders: dict[str, Work] = {
        "classic, recorded": trainers.classic(STEPS),
        "meta, recorded": trainers.meta(STEPS),
    }
    size, seconds = trainers.params.batch.size, side_by_side(contenders, rounds)
    with patch.object(recording, "WARM_UP", 10**9):
        (alone,) = side_by_side({"eager": eager}, rounds).values()
    rates = {name: spread(size * STEPS / times) for name, times in seconds.items()}
    return {"images_per_second": {"classic, launched one by one": spread(size * (STEPS // 10) / alone), **rates}}
