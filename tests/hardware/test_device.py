"""How the machine is used."""

import platform
import re
import subprocess
import sys

import pytest
import torch
from helpers import tiny_params

from oneshot.common.errors import UserError
from oneshot.hardware.device import describe, set_up

# Blocks that glibc gives back to the system at once, as it comes; prints the page faults of the last five. Small blocks
# that come to lie between large ones may make it ask for new memory up to ten times before it has enough to reuse.
PROGRAM = """
import resource
import torch
from oneshot.hardware.device import keep_freed_memory
def faults(rounds):
    for number in range(rounds):
        if number == rounds - 5:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
as_it_comes = faults(10)
keep_freed_memory()
print(as_it_comes, faults(25))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_a_step_frees_is_kept_for_the_next():
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, stdout=subprocess.PIPE, text=True)
    as_it_comes, kept = map(int, done.stdout.split())
    pages = 5 * 2**26 / 4096
    assert kept < pages / 100
    assert as_it_comes > pages / 2


def test_a_device_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="hardware.device: found 'cuda'; this machine has none, use auto or cpu"):
        set_up(tiny_params({"hardware.device": "cuda"}).hardware)


def test_a_run_is_deterministic_and_says_where_it_ran():
    compute = set_up(tiny_params({"hardware.threads": 1, "hardware.precision": "bf16"}).hardware)
    assert torch.are_deterministic_algorithms_enabled()
    about = describe(compute)
    assert (about["device"], about["precision"], about["threads"]) == ("cpu", "bf16", 1)
    assert about["torch"] == torch.__version__ and "processes" not in about
    with compute.forward_precision():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing tells how much memory a process may still get")
def test_memory_that_is_not_there_is_refused_in_a_line_that_says_what_to_do():
    """Pairs of so many images, then a batch, each of which the system would grant, and kill the process that fills."""
    program = """
import sys
import numpy, psutil, torch
from helpers import tiny_params, unit_vectors
from oneshot.common.stage import run_stage
from oneshot.evaluation.metrics import pair_similarities
from oneshot.hardware.device import set_up
def main():
    set_up(tiny_params().hardware)
    part = int(psutil.virtual_memory().total * 0.6)
    held = numpy.empty(int(psutil.virtual_memory().available * 0.9), numpy.uint8)  # untouched: nothing is used
    if sys.argv[1] == "pairs":
        count = int((part / 2) ** 0.5)  # twice as many pairs in all, of 4 bytes
        pair_similarities(unit_vectors(count), torch.arange(count) % 2)
    torch.empty(part, dtype=torch.uint8)
run_stage(main)
"""
    for what, words in (
        ("pairs", "images of 2 classes: found .* pairs.*must fit into memory"),
        ("batch", "batch.size"),
    ):
        done = subprocess.run([sys.executable, "-c", program, what], capture_output=True, text=True)
        assert done.returncode == 1 and re.fullmatch(f"error: .*{words}.*\n", done.stderr), done.stderr
