"""Two network namespaces of this machine, a core each, that stand for two machines: what a step takes and sends there.

torchrun starts this file in each as a user would start stages/train_*.py, and it runs that stage with a clock.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from _question import ROOT
from torch import Tensor

from oneshot.common.errors import UserError
from oneshot.common.files import read_json, write_json
from oneshot.common.stage import run_stage
from oneshot.hardware import distributed
from oneshot.training import loop
from oneshot.training.classic import ClassicTraining
from oneshot.training.reptile import ReptileTraining

SPACES, ADDRESSES, LINE = ("oneshot_a", "oneshot_b"), ("10.99.0.1", "10.99.0.2"), "line"


@contextmanager
def two_machines(mbit: int | None) -> Iterator[None]:
    """Namespaces `SPACES` with `ADDRESSES`, joined by `LINE`, of so many Mbit/s each way, or without a limit.

    Raises:
        UserError: this needs rights or programs that are not there.
    """
    cores, tools = len(os.sched_getaffinity(0)), [tool for tool in ("ip", "tc", "taskset") if not shutil.which(tool)]
    if os.geteuid() or tools or cores < 2:
        found = f"found user {os.geteuid()}, {cores} cores" + "".join(f", no program {tool}" for tool in tools)
        raise UserError(f"two machines in one: {found}; must be root (user 0), with 2 cores, ip, tc and taskset")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # through `finally`
    _remove()  # what a killed run left
    try:
        for space in SPACES:
            _ip("netns", "add", space)
        _ip("link", "add", LINE, "netns", SPACES[0], "type", "veth", "peer", "name", LINE, "netns", SPACES[1])
        for space, address in zip(SPACES, ADDRESSES, strict=True):
            _ip("-n", space, "address", "add", f"{address}/24", "dev", LINE)
            _ip("-n", space, "link", "set", LINE, "up")
            _ip("-n", space, "link", "set", "lo", "up")
            if mbit:
                limit = ["tbf", "rate", f"{mbit}mbit", "burst", f"{max(32, mbit // 4)}kb", "latency", "50ms"]
                subprocess.run(["tc", "-n", space, "qdisc", "add", "dev", LINE, "root", *limit], check=True)
        yield
    finally:
        _remove()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _remove() -> None:
    for space in SPACES:
        subprocess.run(["ip", "netns", "delete", space], stderr=subprocess.DEVNULL)


def measure(folders: Sequence[Path], method: str, mbit: int | None) -> dict[str, float]:
    """Train in two folders together, or in one alone; medians of a step's seconds and of the bytes a machine sends.

    The first quarter of the steps, which reserve memory, does not count.

    Raises:
        UserError: a training failed.
    """
    workers: list[subprocess.Popen[bytes]] = []
    nodes = str(len(folders))
    with two_machines(mbit):
        try:
            for rank, (core, folder) in enumerate(zip(sorted(os.sched_getaffinity(0)), folders, strict=False)):
                torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", nodes, "--node-rank", str(rank)]
                torchrun += ["--nproc-per-node", "1", "--master-addr", ADDRESSES[0], __file__, method]
                there = ["ip", "netns", "exec", SPACES[rank], "taskset", "--cpu-list", str(core)]
                environment = os.environ | {"GLOO_SOCKET_IFNAME": LINE}
                workers.append(subprocess.Popen([*there, *torchrun], cwd=folder, env=environment))
            if any([worker.wait() for worker in workers]):
                raise UserError(f"{folders[0]}: the training on two machines failed, as told above")
        finally:
            for worker in workers:
                worker.terminate()
                worker.wait()
    steps = read_json(folders[0] / "steps.json")
    seconds, sent = (median(column) for column in zip(*steps[-(-len(steps) // 4) :], strict=True))
    return {"seconds a step": round(seconds, 4), "bytes a step": round(sent)}


def run_with_a_clock(method: str) -> None:
    """Run the stage; the first process writes seconds and bytes sent of each step. Nothing is done between steps."""
    training: Any = {"classic": ClassicTraining, "meta": ReptileTraining}[method]
    take, steps = training.step, []

    def timed(self: Any, step: int) -> Tensor:
        began, sent = time.monotonic(), psutil.net_io_counters(pernic=True)[LINE].bytes_sent
        loss: Tensor = take(self, step)
        steps.append([time.monotonic() - began, psutil.net_io_counters(pernic=True)[LINE].bytes_sent - sent])
        return loss

    training.step = timed
    loop.CURVE_POINTS, loop.FIRST_CHECKPOINT = 1, 10**6
    sys.path.insert(0, str(ROOT / "stages"))
    import_module(f"train_{method}").main()
    if distributed.IS_MAIN:
        write_json("steps.json", steps)


if __name__ == "__main__":
    run_stage(lambda: run_with_a_clock(sys.argv[1]))
