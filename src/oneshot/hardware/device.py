"""Where and how the arithmetic is done: device, precision, threads, determinism, and a record of them."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import psutil
import torch
from pydantic import Field

from oneshot.common.errors import UserError
from oneshot.common.params import Group, Int
from oneshot.hardware import distributed

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h; `man mallopt` says what they mean


class HardwareParams(Group):
    """The group `hardware`."""

    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "fp32", "bf16"]
    threads: Annotated[Int, Field(ge=0, le=1024)]


@dataclass(frozen=True)
class Compute:
    """The device that tensors live on and whether forward passes run in bfloat16."""

    device: torch.device
    bf16: bool

    def forward_precision(self) -> torch.autocast:
        """Forward passes inside run in bfloat16 where `bf16` says so; weights and losses stay float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)


def set_up(params: HardwareParams) -> Compute:
    """Choose device, precision and threads, and make torch deterministic.

    Raises:
        UserError: the device that `device` names is not there.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this
    torch.set_num_threads(params.threads or max(1, _cores() // distributed.LOCAL_WORLD_SIZE))
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = next(n for n in there if there[n]) if params.device == "auto" else params.device
    if not there[name]:
        raise UserError(f"hardware.device: found '{name}'; this machine has none, use auto or cpu")
    # On Apple's chips one operation of the backward pass has no deterministic form: there it only warns.
    torch.use_deterministic_algorithms(True, warn_only=name == "mps")
    # Filling memory before it is used is a help in debugging that costs 6 % of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32
    if name == "cpu":
        _limit_memory()
    bf16 = _has_bf16_units(name) if params.precision == "auto" else params.precision == "bf16"
    if name == "cuda":
        if (gpus := torch.cuda.device_count()) < distributed.LOCAL_WORLD_SIZE:
            found = distributed.LOCAL_WORLD_SIZE
            raise UserError(f"torchrun: found {found} processes here; must be at most {gpus}, the GPUs")
        torch.cuda.set_device(distributed.LOCAL_RANK)
    return Compute(torch.device(name), bf16)


def keep_freed_memory() -> None:
    """Let the C library keep what a training step frees for the next one, where it is glibc; nothing elsewhere.

    As it comes, it gives the memory of large tensors back to the system and gets it again as pages that the kernel
    fills with zeros first: thousands of page faults in a step, a tenth of its time.
    """
    with suppress(AttributeError, OSError, TypeError):  # another C library, or Windows
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _limit_memory() -> None:
    """Let Linux refuse memory that is not there, which ends in a line, rather than grant it and kill who uses it."""
    if sys.platform == "linux":
        import resource

        most = psutil.Process().memory_info().data + psutil.virtual_memory().available + psutil.swap_memory().free
        _, allowed = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (most if allowed < 0 else min(most, allowed), allowed))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # a container may have fewer than the machine
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _has_bf16_units(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.get_device_capability()[0] >= 8
    # Without such units bfloat16 is emulated, and slower than float32.
    return device == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def describe(compute: Compute) -> dict[str, Any]:
    """Versions, hardware and threads behind a result, as JSON values; nothing that changes from run to run."""
    return {
        "device": compute.device.type,
        "hardware": torch.cuda.get_device_name() if compute.device.type == "cuda" else _processor(),
        "precision": "bf16" if compute.bf16 else "fp32",
        "threads": torch.get_num_threads(),
        **({"processes": distributed.WORLD_SIZE} if distributed.WORLD_SIZE > 1 else {}),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{package: version(package) for package in ("torchvision", "numpy", "scikit-learn")},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
