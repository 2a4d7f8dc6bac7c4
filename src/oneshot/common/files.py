"""Files: written whole or not at all, with the same bytes each time; read as what they should be, or refused.

All that is read as YAML, JSON or a table is read here, under limits. What it must be is a type, which pydantic checks.
"""

from __future__ import annotations

import contextlib
import csv
import glob
import hashlib
import io
import json
import math
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil  # comes with DVC
import yaml  # reads YAML 1.1
from ruamel.yaml import YAML, YAMLError  # reads YAML 1.2, and params.yaml for DVC
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, Event, ScalarEvent

from oneshot.common.errors import UserError
from oneshot.common.schema import checked, shown

MISSING = "run `dvc repro`, which makes it"
MOST_TEXT, MOST_YAML = 2**28, 2**17  # bytes of a file; YAML takes a second for its most
MOST_DEPTH = 20  # lists or groups within each other in YAML


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` to `path`, creating its folder; a kill at any moment leaves the old file or the new one."""
    with unfinished(Path(path)) as work, open(work, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """Where to write what becomes the file or folder `path` if the block ends well; else, or killed, it is removed."""
    work, old = (path.with_name(f".{path.name}.{os.getpid()}.{kind}") for kind in ("unfinished", "replaced"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
            process = re.fullmatch(rf"\.{re.escape(path.name)}\.(\d+)\.(unfinished|replaced)", left.name)
            if process and (left in (work, old) or not psutil.pid_exists(int(process[1]))):
                _settle(left, path)
        yield work
        if work.is_dir() and path.is_dir():  # a file replaces no folder
            os.replace(path, old)  # removing it takes time, in which a kill would leave half of it
        os.replace(work, path)
    except OSError as error:
        if str(work) in str(error.filename or work):
            error.filename = str(path)  # a full disk does not say which file it stopped
        raise
    finally:
        for left in (work, old):
            _settle(left, path)


def _settle(left: Path, path: Path) -> None:
    """Remove what a write of `path` left; but the old folder goes back where no new one came."""
    with contextlib.suppress(OSError):
        if left.suffix == ".replaced" and not path.exists():
            os.replace(left, path)
        shutil.rmtree(left, ignore_errors=True)
        left.unlink()


def new_file(option: str, path: str | Path, *suffixes: str) -> Path:
    """The path that an option gives for a file to be made; UserError where it ends in none of these, or is there."""
    if not str(path).endswith(suffixes):
        raise UserError(f"{option}: found {str(path)!r}; must end in {' or '.join(suffixes)}")
    if os.path.lexists(path):
        raise UserError(f"{path}: is there already; remove it, or choose another {option}")
    return Path(path)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON; NaN and infinity are refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def check_file(path: str | Path, missing: str = MISSING, most: float = math.inf) -> None:
    """Refuse, by a UserError, what is no file of at most `most` bytes; opening a pipe would wait for its other end."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise UserError(f"{path}: not found; {missing}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', error)})") from None
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path}: not a file")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path}: cannot be read (Permission denied)")
    if found.st_size > most:
        raise UserError(f"{path}: has more than {most:,} bytes; must be smaller")


def read_text(path: str | Path, missing: str = MISSING, most: int = MOST_TEXT) -> str:
    """The text of a file in UTF-8, under the conditions of `check_file`."""
    check_file(path, missing, most)
    try:
        return Path(path).read_bytes().decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None


def read_json(path: str | Path, schema: Any = Any, missing: str = MISSING) -> Any:
    """Read a JSON file as a `schema`, a type that `checked` takes; UserError where it holds something else."""
    try:
        value = json.loads(read_text(path, missing))
    except (ValueError, RecursionError) as error:
        why, *_ = str(error).split("; use sys.")  # by which Python would take a number of thousands of digits
        raise UserError(f"{path}: not valid JSON ({why}); remove it and {missing}") from None
    return checked(schema, value, str(path))


def read_yaml(path: str | Path, schema: Any = Any, missing: str = "run from the top folder of the project") -> Any:
    """Read a YAML file by `parse_yaml` as a `schema`, a type that `checked` takes; an empty one is an empty dict."""
    value = parse_yaml(read_text(path, missing, MOST_YAML), str(path))
    return checked(schema, {} if value is None else value, str(path))


def parse_yaml(text: str, where: str) -> Any:
    """The value of a text in YAML, as DVC reads it; `where` it stands is for messages.

    Refused is what costs much or may mean two things: aliases, tags, deep nesting, values on which YAML 1.1 and 1.2
    differ.
    """
    depth = 0
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            if odd := _odd(event, depth):
                raise UserError(f"{where}: line {event.start_mark.line + 1}: {odd}")
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, yaml.YAMLError, ValueError) as error:
        why, *_ = " ".join(str(error).split()).split("; use sys.")  # as in JSON
        raise UserError(f"{where}: not valid YAML: {why[:300]}") from None


def _odd(event: Event, depth: int) -> str:
    if isinstance(event, AliasEvent):
        return f"found *{event.anchor}; aliases are not taken, write out what it stands for"
    if depth > MOST_DEPTH:
        return f"more than {MOST_DEPTH} lists or groups within each other"
    if tag := getattr(event, "tag", None):
        return f"found the tag {str(tag).replace('tag:yaml.org,2002:', '!!')}; tags are not taken"
    if isinstance(event, ScalarEvent) and event.implicit[0]:
        new, old = YAML(typ="safe", pure=True).load(event.value), yaml.safe_load(event.value)
        if repr(new) != repr(old) and not (isinstance(new, float) and old == event.value):  # DVC writes 1e-05
            remedy = "write true, false or a plain number, or put it in quotes"
            return f"found {shown(event.value)}, which YAML 1.1 and 1.2 read differently; {remedy}"
    return ""


def write_table(path: str | Path, rows: list[dict[str, Any]]) -> None:
    """Write rows of equal keys as CSV or, where the name ends so, TSV; floats in Python's shortest exact form."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, rows[0], delimiter=_separator(path), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def read_table(path: str | Path, columns: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Read what `write_table` wrote, with these `columns` or more.

    Numbers come as numbers, except in the column `class`: a class may be called 7.
    """
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter=_separator(path), strict=True)
    table = []
    try:
        if not {*columns} <= {*(rows.fieldnames or ())}:
            raise csv.Error(f"must have the columns {', '.join(columns)}")
        for row in rows:
            if None in row or None in row.values():
                raise csv.Error("cells: must be as many as in the heading")
            table.append({key: text if key == "class" else _value(text) for key, text in row.items()})
    except csv.Error as error:
        raise UserError(f"{path}: row {len(table) + 1}: {error}; remove it and run `dvc repro`") from None
    return table


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
