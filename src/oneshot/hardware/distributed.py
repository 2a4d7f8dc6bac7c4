"""Work shared by processes, which `torchrun` starts on one machine or on several: tasks, or the images of a batch.

Started without torchrun there is one process, and nothing here communicates.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed

from oneshot.common.errors import UserError

# What torchrun tells its processes; clusters set some of these variables for purposes of their own.
_told = os.environ if distributed.is_available() and distributed.is_torchelastic_launched() else {}
WORLD_SIZE = int(_told.get("WORLD_SIZE", 1))  # processes in all, on all machines
RANK = int(_told.get("RANK", 0))  # number of this one
IS_MAIN = RANK == 0  # the one that writes files and reports
LOCAL_WORLD_SIZE = int(_told.get("LOCAL_WORLD_SIZE", 1))  # processes on this machine
LOCAL_RANK = int(_told.get("LOCAL_RANK", 0))  # number of this one on its machine: its GPU


@contextmanager
def connected(device: torch.device) -> Iterator[None]:
    """Connect this process with the others, over nccl between GPUs and gloo between CPUs."""
    if WORLD_SIZE == 1:
        yield
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def share(tasks: int) -> range:
    """Which of `tasks` tasks this process takes: every WORLD_SIZE-th."""
    return range(RANK, tasks, WORLD_SIZE)


def all_reduce(tensors: Sequence[Tensor]) -> None:
    """Replace float32 tensors, of any shapes, by their sums over all processes: in place, in one message.

    Raises:
        UserError: another process has ended; those that remain cannot go on.
    """
    if WORLD_SIZE == 1:
        return
    # gloo talks between CPUs; and Adam keeps its count of steps there.
    device = tensors[0].device if distributed.get_backend() == "nccl" else torch.device("cpu")
    message = torch.cat([tensor.reshape(-1).to(device) for tensor in tensors])
    try:
        distributed.all_reduce(message)
    except RuntimeError as error:
        raise UserError(
            f"process {RANK} of {WORLD_SIZE} lost the others ({' '.join(str(error).split())[:120]}); run again to go on"
        ) from error
    for tensor, total in zip(tensors, message.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(total.view_as(tensor))


def broadcast(value: Any) -> Any:
    """The value, of plain types and tensors, that the first process holds."""
    if WORLD_SIZE == 1:
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def interleaved(rows: Tensor) -> Tensor:
    """All rows (N, D), float32, of which each process holds every WORLD_SIZE-th; gradients flow to its own."""
    everything = rows.new_zeros(len(rows) * WORLD_SIZE, rows.shape[1])
    everything[RANK::WORLD_SIZE] = rows.detach()
    all_reduce([everything])
    everything[RANK::WORLD_SIZE] = rows
    return everything
