"""How the machine is used."""

import platform
import subprocess
import sys

import pytest

# Blocks that glibc gives back to the system at once, as it comes; prints the page faults of the last five. Small blocks
# that come to lie between large ones may make it ask for new memory up to ten times before it has enough to reuse.
PROGRAM = """
import resource, sys
import torch
from oneshot.compute import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for number in range(30):
    if number == 25:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(what):
    command = [sys.executable, "-c", PROGRAM, what]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_a_step_frees_is_kept_for_the_next():
    pages = 5 * 2**26 / 4096
    assert faults("keep") < pages / 100
    assert faults("as it comes") > pages / 2
