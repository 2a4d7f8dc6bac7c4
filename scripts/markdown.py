"""Tables in Markdown, for the pages that commands write."""

from __future__ import annotations


def markdown_table(heading: list[str], rows: list[list[str]]) -> str:
    """A heading, a rule and rows; all cells are text."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
