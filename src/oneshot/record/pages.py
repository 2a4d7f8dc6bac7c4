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
from oneshot.record import ablations, beside, lists, speed, tables
from oneshot.record.studies import NotRun, Record

PAGES = (
    "README.md",
    *(f"docs/{name}.md" for name in ("experiments", "speed", "trust", "parameters", "metrics", "code")),
)
PICTURE = "docs/ablations.svg"
PARTS: dict[str, Callable[[Record], str]] = {
    "seeds": tables.seeds,
    "reference": tables.reference,
    "single": tables.single,
    "adapted": tables.adapted,
    "episodes": tables.episodes,
    "setting": tables.setting,
    "gains": tables.gains,
    "thresholds": tables.thresholds,
    "near_duplicates": tables.near_duplicates,
    "missing": beside.missing,
    "draws": partial(beside.beside, runs=beside.DRAWS),
    "triplet_alone": partial(beside.beside, runs=beside.TRIPLET_ALONE),
    "scaled": partial(beside.beside, runs=beside.SCALED),
    "scaled_thresholds": beside.reference_scaled,
    "fewer_images": partial(beside.beside, runs=beside.FEWER_IMAGES),
    "splits": partial(beside.beside, runs=beside.SPLITS),
    "shared_classes": partial(beside.shared_classes, runs=beside.SPLITS),
    "warm_start": partial(beside.beside, runs=beside.WARM_START),
    "cifar_fs": beside.cifar_fs,
    "luck": ablations.luck,
    "recipe": ablations.recipe,
    "reptile": ablations.reptile,
    "longer": ablations.longer,
    "search": ablations.search,
    "criteria": ablations.criteria,
    "adaptation": ablations.adaptation,
    "speed": speed.summary,
    "equal_learning": speed.equal_learning,
    "scaling": speed.scaling,
    "memory": speed.memory,
    "random_kills": lists.random_kills,
    "stage_kills": lists.stage_kills,
    "made_up_input": lists.made_up_input,
    "parameters": lists.parameters,
    "metric_keys": lists.metric_keys,
    "code": lists.code_map,
}
MARK = re.compile(r"<!-- (\w+):(begin|end) -->")


def write_pages(root: Path) -> list[str]:
    """Make the parts of all pages of the project in `root` anew, and the picture of the ablations.

    Returns:
        The names of the pages that changed.
    """
    record, changed = Record(root), []
    for name in PAGES:
        old = (root / name).read_text(encoding="utf-8")
        new = filled(old, name, record)
        if new != old:
            write_text(root / name, new)
            changed.append(name)
    with contextlib.suppress(NotRun):  # the page says so
        ablations.draw(record, root / PICTURE)
    return changed


def filled(text: str, page: str, record: Record) -> str:
    """The text of a page with its parts made anew; a part whose figures are missing says so.

    Raises:
        UserError: a mark without its other, an unknown part, or a file that cannot be read.
    """
    pieces = MARK.split(text)  # text, then name, begin or end, and text, as often as there are marks
    result = pieces[0]
    names, kinds, texts = pieces[1::3], pieces[2::3], pieces[3::3]
    if kinds != ["begin", "end"] * (len(kinds) // 2) or names[::2] != names[1::2]:
        raise UserError(f"{page}: each `<!-- name:begin -->` must have its `<!-- name:end -->`, and no other between")
    for place, name in enumerate(names[::2]):
        if name not in PARTS:
            raise UserError(f"{page}: has no part {name}; there are {', '.join(PARTS)}")
        result += f"<!-- {name}:begin -->\n\n{part(name, record)}\n\n<!-- {name}:end -->{texts[2 * place + 1]}"
    return result


def part(name: str, record: Record) -> str:
    """The Markdown of one part."""
    try:
        return PARTS[name](record)
    except NotRun as missing:
        return f"Not run yet: `{missing}` does."
