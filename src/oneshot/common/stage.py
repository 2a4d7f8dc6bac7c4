"""How a program ends: what its user can mend gives one line and an exit code, without a traceback."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from oneshot.common.errors import UserError, printable

# torch, and what loads libraries, have kinds of errors of their own
OUT_OF_MEMORY = re.compile("out of memory|allocate memory|not enough memory|ALLOC_FAILED|failed to map segment")
LOOKS_AGAIN = 1  # seconds after which a stage looks again whether it should go on
_PARENT = os.getppid()  # in a stage: DVC, unless that ends; asked for before anything that is slow to import


class Parser(argparse.ArgumentParser):
    """A command line that names odd arguments as a terminal may show them."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def run_stage(main: Callable[[], int | None], unread: int = 1, command: bool = False) -> NoReturn:
    """Run a stage, a script or a command and end the program; a mishap is told in one line on stderr.

    A stage that DVC runs ends with it, and takes only the parameters that the stage check_params has seen, as dvc.lock
    tells: so the results of all stages are of the same. Nor may params.yaml change meanwhile: DVC would note what it
    then holds as what the result came from.

    Args:
        main: returns the exit code; None stands for 0. What it raises by a mistake in the program is raised again.
        unread: exit code where nobody reads the output any more, as in `| head`; 0 also says nothing of it.
        command: of `oneshot`, for which 1 is a verdict: whatever goes wrong gives one line and 2, no advice on stages.
    """
    try:
        # Of several processes the main one saves, and ends the others.
        watched = not command and "DVC_STAGE" in os.environ and os.environ.get("RANK", "0") == "0"
        code = (_watched(main) if watched else main()) or 0
        print(end="", flush=True)  # sys.stdout is None where it was closed
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at its end
        code = unread
        if unread:
            print("error: nobody reads the output any more", file=sys.stderr)
    except (Exception, KeyboardInterrupt) as error:
        code = 130 if isinstance(error, KeyboardInterrupt) else 1 + command  # the shell's code for Ctrl-C
        words, todo = _explained(error)
        if not words and not command:
            raise
        words = words or f"error: {type(error).__name__}: {error}"
        print(printable(f"{words}; {todo}" if todo and not command else words), file=sys.stderr)
    sys.exit(code)


def _watched(main: Callable[[], int | None]) -> int | None:
    """Run `main`, which gets SIGTERM where it should stop; a training saves a checkpoint then."""
    before, over = _content("params.yaml"), threading.Event()
    changed = "params.yaml: changed since the stage check_params; run again"
    if not os.environ["DVC_STAGE"].endswith("check_params") and not _checked(before):
        time.sleep(LOOKS_AGAIN)  # another DVC may be writing dvc.lock
        if not _checked(before):
            raise UserError(changed)

    def why_stop() -> str:
        if os.getppid() != _PARENT:
            return "the program that started this stage has ended"
        for _ in range(10):  # `dvc exp run --queue` changes the file for half a second, on an idle machine
            if _content("params.yaml") == before:
                return ""
            time.sleep(LOOKS_AGAIN)
        return changed

    def watch() -> None:
        while not over.wait(LOOKS_AGAIN):
            if (why := why_stop()) and not over.is_set():
                print(f"error: {why}", file=sys.stderr, flush=True)
                return os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    code = main()
    over.set()
    if why := why_stop():
        raise UserError(why)
    return code


def _checked(params: str) -> bool:
    """Whether dvc.lock notes these parameters of the stage check_params, or notes none."""
    from oneshot.common.files import parse_yaml  # late: loading what it needs may be the mishap to tell

    noted = re.search(r"^  check_params:\n(?:   .*\n)+", _content("dvc.lock"), re.MULTILINE)
    try:
        seen = noted and parse_yaml(noted[0], "dvc.lock")["check_params"]["params"]["params.yaml"]
    except (UserError, LookupError, TypeError):
        return False
    return seen is None or bool(seen == parse_yaml(params, "params.yaml"))


def _content(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace")
    return ""


def _explained(error: BaseException) -> tuple[str, str]:
    """What is wrong, and what to do about it; empty words stand for a mistake in the program itself."""
    if isinstance(error, UserError):
        return f"error: {error}", ""
    if isinstance(error, KeyboardInterrupt):
        return "stopped", "run the same command again to go on"
    if isinstance(error, FileNotFoundError) and error.filename:  # without: no place for temporary files
        return f"error: {error.filename}: not found", "run `dvc repro`, which makes it"
    if isinstance(error, OSError):  # disk full, read-only folder, no permission
        where, reason = f"{error.filename}: " if error.filename else "", error.strerror or str(error) or "OSError"
        return f"error: {where}{reason}", "free space or mend the permissions, then run again"
    if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error)):
        return "error: out of memory", "close other programs, or lower batch.size"
    return "", ""
