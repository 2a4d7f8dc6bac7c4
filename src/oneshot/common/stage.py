"""How a program ends: what its user can mend gives one line and an exit code, without a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from oneshot.common.errors import UserError

INTERRUPTED = 130  # the shell's code for Ctrl-C


def run_stage(main: Callable[[], int | None], mistake: int = 1, unread: int = 1, advice: bool = True) -> NoReturn:
    """Run a stage, a script or a command and end the program; a mishap is told in one line on stderr.

    Args:
        main: returns the exit code; None stands for 0.
        mistake: exit code after what the user can mend.
        unread: exit code where nobody reads the output any more, as in `| head`; 0 also says nothing of it.
        advice: say what to do about it, as is right for a stage.

    Raises:
        SystemExit: with the exit code; 130 after Ctrl-C.
        Exception: a mistake in the program itself, as `main` raised it.
    """
    try:
        code = main() or 0
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at its end
        code = unread
        if unread:
            print("error: nobody reads the output any more", file=sys.stderr)
    except (UserError, OSError, MemoryError, RuntimeError, KeyboardInterrupt) as error:
        code = INTERRUPTED if isinstance(error, KeyboardInterrupt) else mistake
        words, todo = _explained(error)
        print(f"{words}; {todo}" if advice and todo else words, file=sys.stderr)
    sys.exit(code)


def _explained(error: BaseException) -> tuple[str, str]:
    """What is wrong, and what to do about it; a mistake in the program itself is raised again."""
    if isinstance(error, UserError):
        return f"error: {error}", ""
    if isinstance(error, KeyboardInterrupt):
        return "stopped", "run the same command again to go on"
    if isinstance(error, FileNotFoundError) and error.filename:  # without: no place for temporary files
        return f"error: {error.filename}: not found", "run `dvc repro`, which makes it"
    if isinstance(error, OSError):  # disk full, read-only folder, no permission
        where, reason = f"{error.filename}: " if error.filename else "", error.strerror or str(error) or "OSError"
        return f"error: {where}{reason}", "free space or mend the permissions, then run again"
    if isinstance(error, MemoryError) or "memory" in str(error):  # torch has kinds of its own for it
        return "error: out of memory", "close other programs, or lower batch.size"
    raise error
