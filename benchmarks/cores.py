"""What threads, and other work on the machine, do to the speed of training."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import numpy as np
from timing import spread
from training import of_project

from oneshot.training.classic import ClassicTraining

WARM_UP, SECONDS = 8, 10  # steps, then time of a measurement
WAYS = {"all threads": ["0"], "one thread": ["1"], "two trainings at once, a thread each": ["1", "1"]}
BUSY = [sys.executable, "-c", "while True: pass"]


def threads_and_load(rounds: int) -> dict[str, dict[str, Any]]:
    """Images a second of classic training by `hardware.threads`, alone and beside a process that keeps a core busy."""
    found: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for load, others in (("alone", 0), ("beside a busy process", 1)):
            busy = [subprocess.Popen(BUSY) for _ in range(others)]
            try:
                for way, threads in WAYS.items():
                    commands = [[sys.executable, __file__, number] for number in threads]
                    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
                    rate = sum(float(process.communicate()[0]) for process in running)
                    found.setdefault(way, {}).setdefault(load, []).append(rate)
            finally:
                for process in busy:
                    process.kill()
    return {way: {load: spread(np.array(rates)) for load, rates in loads.items()} for way, loads in found.items()}


def main(threads: int) -> None:
    """Print images a second."""
    trainers = of_project()
    chosen = trainers.changed({"hardware.threads": threads})
    training = ClassicTraining(chosen, trainers.learner(chosen))
    for step in range(WARM_UP):
        training.step(step)
    began, done = time.perf_counter(), 0
    while time.perf_counter() < began + SECONDS:
        training.step(WARM_UP + done)
        done += 1
    print(done * chosen.batch.size / (time.perf_counter() - began))


if __name__ == "__main__":
    main(int(sys.argv[1]))
