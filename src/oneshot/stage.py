"""What every stage shares: a mishap ends in one clear line and a non-zero exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable

from oneshot.errors import UserError

INTERRUPTED = 130  # the shell's code for Ctrl-C


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage's `main`; what a user can mend is printed as one line without a traceback."""
    try:
        main()
    except UserError as error:
        _stop(str(error))
    except OSError as error:  # no such file, disk full, read-only folder, no permission
        if isinstance(error, FileNotFoundError) and error.filename:  # without: no place for temporary files
            _stop(f"{error.filename}: not found; run `dvc repro`, which makes it")
        where, what = error.filename or "file", error.strerror or error
        _stop(f"{where}: {what}; free space or mend the permissions, then run again")
    except (MemoryError, RuntimeError) as error:  # torch has kinds of its own for a failed allocation
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        _stop("out of memory; close other programs, or lower batch_size in params.yaml")
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _stop(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)
