"""Files that are written whole or not at all, with the same bytes each time."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from oneshot.common.errors import UserError


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` to `path`, creating its folder; a kill at any moment leaves the old file or the new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would keep others from reading results
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk does not say which file it stopped
        raise


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON; NaN and infinity are refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run `dvc repro`, which makes it") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); remove it and run `dvc repro`") from None


def write_table(path: str | Path, rows: list[dict[str, Any]]) -> None:
    """Write rows of equal keys as CSV or, where the name ends so, TSV; floats in Python's shortest exact form."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, rows[0], delimiter=_separator(path), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def read_table(path: str | Path) -> list[dict[str, Any]]:
    """Read what `write_table` wrote, as CSV or, where the name ends so, TSV.

    Numbers come as numbers, except in the column `class`: a class may be called 7.
    """
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter=_separator(path))
        return [{key: text if key == "class" else _value(text) for key, text in row.items()} for row in rows]


def _separator(path: str | Path) -> str:
    return "\t" if str(path).endswith(".tsv") else ","


def _value(text: str) -> str | int | float:
    for number in (int, float):
        with contextlib.suppress(ValueError):
            return number(text)
    return text


def md5(path: str | Path) -> str:
    """Hex md5 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
