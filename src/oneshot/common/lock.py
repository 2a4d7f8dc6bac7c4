"""Locks between processes; the system releases them when their holder ends, however it ends."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from oneshot.common.errors import UserError


@contextlib.contextmanager
def only_one(path: Path, waits: bool = False) -> Iterator[IO[str]]:
    """Hold the lock file at `path`, open: a child process that inherits it holds it, too.

    Where another process holds it, this one waits for its end, or raises a UserError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        if not _locked(file):
            file.seek(0)
            held = f"{path}: held by process {file.read().strip() or '?'}"
            if not waits:
                raise UserError(f"{held}; wait until it ends, or stop it")
            print(f"{held}; waiting until it ends", file=sys.stderr, flush=True)
            while not _locked(file):
                time.sleep(0.2)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield file


def _locked(file: IO[str]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(file.fileno(), 2**30, os.SEEK_SET)  # a byte that nobody reads or writes
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
