"""A mishap ends in one line and a non-zero exit code."""

import errno

import pytest

from oneshot.errors import UserError
from oneshot.stage import run_stage


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (UserError("params.yaml: seed: found -1; must be at least 0"), "seed: found -1"),
        (OSError(errno.ENOSPC, "No space left on device", "data/x"), "data/x: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "metrics"), "metrics: Permission denied"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "results/x"), "results/x: not found"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found"), "directory found; free space or mend"),
        (MemoryError(), "out of memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"), "out of"),
    ],
)
def test_one_line(capsys, error, words):
    def main():
        raise error

    with pytest.raises(SystemExit) as stopped:
        run_stage(main)
    printed = capsys.readouterr().err
    assert stopped.value.code == 1
    assert printed.startswith("error: ") and words in printed and printed.count("\n") == 1


def test_ctrl_c_has_the_shells_code(capsys):
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stopped:
        run_stage(main)
    assert stopped.value.code == 130 and "again" in capsys.readouterr().err


def test_a_mistake_in_the_program_is_not_hidden():
    def main():
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        run_stage(main)
