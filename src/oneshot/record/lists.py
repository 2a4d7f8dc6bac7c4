"""Lists of what there is: parameters, metrics, modules, and what was tried to break the pipeline."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from typing import Any

from oneshot.common.errors import UserError
from oneshot.common.files import read_json
from oneshot.record.markdown import table
from oneshot.record.studies import NotRun, Record
from oneshot.report.comparison import HEADLINES

SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")
FOLDERS = {
    "stages": "The stages of dvc.yaml, one script each.",
    "scripts": "Commands for a person, beside the pipeline.",
    "benchmarks": "What training, evaluation and the pipeline cost.",
}
GROUP = re.compile(r"(\w+):(?: +# (.+))?")
PARAMETER = re.compile(r"( *)(\w+): (.*?\S) +# (.+?)(?: \[([^\[\]]+)\])?")


def parameters(record: Record) -> str:
    """Every parameter of params.yaml, group by group, from its comment `meaning [the reference's value]`.

    Raises:
        UserError: a line without such a comment.
    """
    parts: list[tuple[str, list[list[str]]]] = [("", [])]
    group = ""
    for line in (record.root / "params.yaml").read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if found := GROUP.fullmatch(line):
            group = found[1]
            parts.append((f"### {group}\n\n{_sentence(found[2] or '')}".rstrip(), []))
            continue
        if not (found := PARAMETER.fullmatch(line)):
            raise UserError(f"params.yaml: found {line!r}; must be `name: value # meaning [the reference's value]`")
        indent, name, value, meaning, theirs = found.groups()
        full_name = f"{group}.{name}" if indent else name
        parts[-1][1].append([f"`{full_name}`", f"`{value}`", meaning, theirs or ""])
    heading = ["parameter", "default", "meaning", "reference"]
    return "\n\n".join(f"{title}\n\n{table(heading, rows)}".strip() for title, rows in parts if rows)


def metric_keys(record: Record) -> str:
    """The headlines, and where each stands in metrics/details/."""
    rows = [[f"`{key}`", words, f"`{path.format(held_out='unseen')}`"] for key, (path, words) in HEADLINES.items()]
    return table(["key in `metrics/*.json`", "meaning", "key in `metrics/details/`"], rows)


def code_map(record: Record) -> str:
    """Packages, and under each its modules, with the first line of their docstrings."""
    source = record.root / "src/oneshot"
    packages = [source, *sorted(path.parent for path in source.glob("*/__init__.py"))]
    about = {path: _docstring(path / "__init__.py") for path in packages}
    about |= {record.root / name: words for name, words in FOLDERS.items()}
    rows = []
    for folder, words in about.items():
        name = folder.relative_to(record.root).as_posix()
        rows.append([f"**[{name}](../{name})**", f"**{words}**"])
        modules = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
        rows += [[f"[{path.name}](../{name}/{path.name})", _docstring(path)] for path in modules]
    return table(["where", "what it is for"], rows)


def random_kills(record: Record) -> str:
    """Kills at random moments, by stage and signal."""
    return _kills(record, "random_moments")


def stage_kills(record: Record) -> str:
    """Kills in each stage, by stage and signal."""
    return _kills(record, "each_stage")


def made_up_input(record: Record) -> str:
    """Made-up and damaged files and values, by the words of the tests that try them."""
    tried = _tally(record)["made_up_input"]
    words = f"{sum(tried.values()):,} made-up or damaged files and values, each read or refused in one line:"
    return f"{words}\n\n{table(['what', 'tried'], [[name, f'{count:,}'] for name, count in tried.items()])}"


def _kills(record: Record, part: str) -> str:
    tally = _tally(record)[part]
    by_place: dict[str, Counter[str]] = {}
    for kind, count in tally["kills_by_signal_and_stage"].items():
        what, _, stage = kind.partition(" in ")
        by_place.setdefault(stage, Counter())[what.split()[0]] += count
    rows = [[stage, *(str(counts[name]) for name in SIGNALS)] for stage, counts in sorted(by_place.items())]
    words = (
        f"**{tally['same_bytes']} of {tally['runs']}** runs, killed {tally['kills']} times in all, ended with the same "
        f"bytes in {tally['files_compared']} files. {_cut_short(tally.get('dvc_files_cut_short', 0))}Killed in:"
    )
    return f"{words}\n\n{table(['stage', *SIGNALS], rows)}"


def _cut_short(times: int) -> str:
    """A sentence on the kills that left half-written files of DVC's own."""
    if not times:
        return ""
    return (
        f"{times} of the kills hit DVC while it wrote a file of its own, `dvc.lock` or `.dvc/tmp/rwlock`. It could not "
        "read that file then, which was removed; DVC's cache gave back what was done. "
    )


def _tally(record: Record) -> dict[str, Any]:
    if not (file := record.root / "docs/torture.json").exists():
        raise NotRun("make torture")
    tally: dict[str, Any] = read_json(file)
    return tally


def _docstring(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split("\n")[0]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""
