"""Which part of which page is made by what: all else on a page is written by hand.

A part stands between `<!-- name:begin -->` and `<!-- name:end -->`; it may stand on several pages.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from oneshot.common.errors import UserError
from oneshot.common.files import write_text
from oneshot.record import ablations, beside, cost, folds, front, lists, questions, speed, tables
from oneshot.record.studies import NotRun, Record

PICTURES = {"docs/cost.svg": cost.draw, "docs/folds.svg": folds.draw}
NAMED_ALIKE: tuple[Callable[[Record], str], ...] = (
    front.headline, front.verify, beside.missing, beside.cifar_fs, ablations.luck,
    tables.seeds, tables.reference, tables.gains, tables.thresholds,
    tables.near_duplicates, lists.command_line, lists.tried, lists.two_at_once, lists.made_up_input,
    lists.metric_keys, questions.questions, questions.papers_reptile, speed.stages,
)  # fmt: skip
PARTS: dict[str, Callable[[Record], str]] = {
    **{make.__name__: make for make in NAMED_ALIKE},
    **{name: partial(beside.beside, kind=name) for name in beside.RUNS},
    **{name: partial(ablations.changes, kind=name) for name in ablations.TABLES},
    "random_kills": partial(lists.kills, part="random_moments"),
    "stage_kills": partial(lists.kills, part="each_stage"),
    "folds": folds.summary,
    "speed": speed.summary,
}
MARK = re.compile(r"<!-- (\w+):(begin|end) -->")
GENERATED = re.compile(r"<!-- (\w+):begin -->(?:(?!<!-- \w+:).)*<!-- \1:end -->", re.DOTALL)


def write_pages(root: Path) -> list[str]:
    """Make the parts of all pages of the project in `root` anew, and the pictures of the record.

    Returns:
        The names of the pages that changed.
    """
    record, changed = Record(root), []
    for path in (root / "README.md", *sorted(root.glob("docs/*.md"))):
        old, name = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
        new = filled(old, name, record)
        if new != old:
            write_text(path, new)
            changed.append(name)
    for name, draw in PICTURES.items():
        with contextlib.suppress(NotRun):  # the page says so
            draw(record, root / name)
    return changed


def filled(text: str, page: str, record: Record) -> str:
    """The text of a page with its parts made anew; a part whose figures are missing says so.

    Raises:
        UserError: a mark without its other, an unknown part, or a file that cannot be read.
    """
    if MARK.search(GENERATED.sub("", text)):
        raise UserError(f"{page}: each `<!-- name:begin -->` must have its `<!-- name:end -->`, and no other between")
    if unknown := {name for name, _ in MARK.findall(text)} - set(PARTS):
        raise UserError(f"{page}: has no part {min(unknown)}; there are {', '.join(PARTS)}")
    return GENERATED.sub(
        lambda found: f"<!-- {found[1]}:begin -->\n\n{part(found[1], record)}\n\n<!-- {found[1]}:end -->", text
    )


def part(name: str, record: Record) -> str:
    """The Markdown of one part."""
    try:
        return PARTS[name](record)
    except NotRun as missing:
        return f"Not run yet: `{missing}` does."
