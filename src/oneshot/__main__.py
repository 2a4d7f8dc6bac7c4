"""The command `oneshot`, also as `python -m oneshot`: exit code 1 is a verdict, so nothing else may end in it."""

import contextlib
import ctypes
import importlib
import os
from typing import NoReturn

from oneshot.common.stage import run_stage


def main() -> NoReturn:
    """Run the command line; ends the program with its exit code."""
    if os.name == "posix":
        c = ctypes.CDLL(None)
        c.__cxa_atexit(c._exit, 2, None)  # C libraries that lack memory or threads end the program by exit(1)
    try:  # torch alone takes gigabytes to load
        run_stage(lambda: importlib.import_module("oneshot.recognizer.cli").main(), command=True)
    except SystemExit as end:
        with contextlib.suppress(OSError):
            print(end="", flush=True)
        os._exit(int(end.code or 0))


if __name__ == "__main__":
    main()
