"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A heading, a rule and rows; all cells are text."""
    lines = [heading, ["---"] * len(heading), *rows]
    cells = ([text.replace("|", "\\|").replace("<", "&lt;") for text in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def percent(value: float | None) -> str:
    """A fraction of 1 in %, with two digits; empty where there is none."""
    return "" if value is None else f"{100 * value:.2f}"


def estimated(value: float | None, half_width: float | None) -> str:
    """A fraction of 1 in %, and the half-width of its interval where there is one."""
    return percent(value) + (f" ± {percent(half_width)}" if half_width is not None else "")
