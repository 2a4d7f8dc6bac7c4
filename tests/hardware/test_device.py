"""How the machine is used."""

import re
import subprocess
import sys

import pytest
import torch
from helpers import refusal, tiny_params

from oneshot.hardware.device import describe, set_up


def test_a_device_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    told = refusal(set_up, tiny_params({"hardware.device": "cuda"}).hardware)
    assert told == "hardware.device: found 'cuda'; this machine has none, use auto or cpu"


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
    """So much that the system would grant it, and kill the process that fills it."""
    program = """
import numpy, psutil, torch
from helpers import tiny_params
from oneshot.common.stage import run_stage
from oneshot.hardware.device import set_up
def main():
    set_up(tiny_params().hardware)
    held = numpy.empty(int(psutil.virtual_memory().available * 0.9), numpy.uint8)  # untouched: nothing is used
    torch.empty(int(psutil.virtual_memory().total * 0.6), dtype=torch.uint8)
run_stage(main)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1 and re.fullmatch("error: .*batch.size.*\n", done.stderr), done.stderr
