"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A heading, a rule and rows; all cells are text."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def percent(value: float | None) -> str:
    """A fraction of 1 in %, with two digits; empty where there is none."""
    return "" if value is None else f"{100 * value:.2f}"


def estimated(value: float | None, half_width: float | None, label: str = "") -> str:
    """A fraction of 1 in %, and the half-width of its interval where there is one; a label says of what kind."""
    return percent(value) + (f" ±{label} {percent(half_width)}" if half_width is not None else "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
