"""What recording a step's launches brings on a GPU, and how far its speed is from what its memory allows."""

from __future__ import annotations

import time
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from timing import side_by_side, spread
from torch import nn
from training import Trainers

from oneshot.hardware import recording
from oneshot.model.network import SiameseNetwork

STEPS, COPY = 200, 2**32  # in a turn; bytes


def recorded_steps(trainers: Trainers, rounds: int) -> dict[str, Any] | None:
    """Images a second of both trainings, launched one by one and recorded; None without a GPU."""
    if not torch.cuda.is_available():
        return None
    with patch.object(recording, "WARM_UP", 10**9):
        eager = trainers.classic(STEPS // 10)
        eager()
    contenders = {"classic, recorded": trainers.classic(STEPS), "meta, recorded": trainers.meta(STEPS)}
    size, seconds = trainers.params.batch.size, side_by_side(contenders, rounds)
    with patch.object(recording, "WARM_UP", 10**9):
        (alone,) = side_by_side({"eager": eager}, rounds).values()
    rates = {name: spread(size * STEPS / times) for name, times in seconds.items()}
    learner = trainers.learner(trainers.params)
    return {
        "images_per_second": {"classic, launched one by one": spread(size * (STEPS // 10) / alone), **rates},
        "copied_gb_per_second": copied(),
        "least_bytes_of_an_image": least_bytes(learner.network, trainers.dataset.train_images.shape[1]),
    }


def copied() -> float:
    """Gigabytes a second that a copy within the GPU's memory reads and writes."""
    source = torch.empty(COPY, dtype=torch.uint8, device="cuda")
    target, times = torch.empty_like(source), []
    for _ in range(10):
        torch.cuda.synchronize()
        began = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return round(2 * COPY / float(np.median(times)) / 1e9)


def least_bytes(network: SiameseNetwork, side: int) -> int:
    """Bytes of memory that the convolutions of a training step must move for an image, in bf16, all else fused.

    Forward each reads its input and writes its output; backward it reads both again and the gradient of the output,
    and writes that of the input: 3 inputs and 2 outputs in all.
    """
    moved = []

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        moved.append(2 * (3 * inputs[0].numel() + 2 * output.numel()))

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    network.eval()(torch.zeros(1, network.mean.shape[1], side, side, device=network.mean.device))
    return sum(moved)
