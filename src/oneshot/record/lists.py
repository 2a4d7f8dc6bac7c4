"""Lists of what there is: metrics, commands, what was tried for the default, and what to break it all."""

from __future__ import annotations

import argparse
import re
from typing import Any

from oneshot.common.files import read_json, read_table
from oneshot.recognizer.cli import parser
from oneshot.record.markdown import table
from oneshot.record.studies import NotRun, Record
from oneshot.report.comparison import HEADLINES, meaning

ENDS = {"done": "came to their end", "refused": "were refused in one line", "killed": "were killed"}
# Of studies/tried.csv: which lines are shown, and heading -> how a cell is written; gains in points.
TRIED_IMAGES, WORTH = 500_000, 0.01
TRIED = {"change": "{change}", "draws": "{draws}", "cost": "{cost}"}
TRIED |= {"triplet": "{triplet_gain:+.2%}", "1-shot": "{one_shot_gain:+.2%}"}


def metric_keys(record: Record) -> str:
    """The headlines, and where each stands in metrics/details/."""
    rows = [[f"`{key}`", meaning(key), f"`{HEADLINES[key][0].format(held_out='unseen')}`"] for key in HEADLINES]
    return table(["key in `metrics/*.json`", "meaning", "key in `metrics/details/`"], rows)


def tried(record: Record) -> str:
    """What was tried for the default with so many images, and was taken or gained a point of one-shot accuracy."""
    rows = [row for row in read_table(record.root / "studies/tried.csv") if int(row["images"]) == TRIED_IMAGES]
    best = [row for row in rows if float(row["one_shot_gain"]) >= WORTH or "taken" in row["change"]]
    shown = table(list(TRIED), [[cell.format_map(row).removesuffix("%") for cell in TRIED.values()] for row in best])
    return f"{shown}\n\nThe other {len(rows) - len(best)} gained less than a point of one-shot accuracy, or lost."


def kills(record: Record, part: str) -> str:
    """Kills at random moments or in each stage."""
    tally = _tally(record, part)
    words = (
        f"**{tally['same_bytes']} of {tally['runs']}** runs, killed {tally['kills']} times in all, ended with the same "
        f"bytes in {tally['files_compared']} files."
    )
    if cut := tally.get("dvc_files_cut_short"):
        words += (
            f" {cut} of the kills hit DVC while it wrote a file of its own, `dvc.lock` or `.dvc/tmp/rwlock`. It could "
            "not read that file then, which was removed; DVC's cache gave back what was done."
        )
    return words


def command_line(record: Record) -> str:
    """The commands of `oneshot`, with their options."""
    rows = []
    (commands,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        usage = re.sub(r"\x1b\[[\d;]*m", "", command.format_usage())  # Python 3.14 colours it in a terminal
        arguments = " ".join(usage.replace("usage: ", "").replace("[-h] ", "").split())
        rows.append([f"`{name}`", f"`{arguments}`", str(command.description)])
    return table(["command", "usage", "what it does"], rows)


def made_up_input(record: Record) -> str:
    """How many made-up and damaged files and values were tried."""
    tried = sum(_tally(record, "made_up_input").values())
    return f"{tried:,} made-up or damaged files and values, each read or refused in one line."


def two_at_once(record: Record) -> str:
    """How pairs of runs of one folder ended."""
    tally = _tally(record, "two_at_once")
    ends = ", ".join(f"{tally.get(end, 0)} {words}" for end, words in ENDS.items())
    return f"**{tally['pairs']} of {tally['pairs']}** pairs left the bytes of one run alone. Of the runs, {ends}."


def _tally(record: Record, part: str) -> dict[str, Any]:
    file = record.root / "docs/torture.json"
    if not file.exists() or part not in (tally := read_json(file, dict[str, dict[str, Any]])):
        raise NotRun("make torture")
    return tally[part]
