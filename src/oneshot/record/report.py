"""One file with all pictures and tables of a run, that needs no network: HTML made of the tables' Markdown."""

from __future__ import annotations

import base64
import html
import subprocess
from pathlib import Path
from xml.etree import ElementTree

from markdown_it import MarkdownIt  # comes with DVC

from oneshot.common.errors import UserError
from oneshot.record import tables
from oneshot.record.studies import Record
from oneshot.report.comparison import METHODS
from oneshot.sources.pictures import read_picture

MARKDOWN = MarkdownIt("js-default")  # as GitHub's, without HTML in it
TITLE = "Classic and Reptile training, measured on classes that they never saw"
TABLES = {
    "Classic beside meta": tables.single,
    "Adapted to one class at a time, in %": tables.adapted,
    "One-shot and five-shot classification among all held-out classes, in %": tables.episodes,
    "How it was obtained": tables.setting,
}
CAPTIONS = {  # of the files in plots/
    "comparison/roc.svg": "Pairs of classes that training never saw. Left: both kinds of mistakes; the further to the "
    "lower left, the better. A mark is at the threshold calibrated on seen classes. Right: above 0 meta finds more.",
    "comparison/similarities.svg": "Cosines of pairs of unseen classes. Where the two shapes overlap, no threshold can "
    "be right.",
    "comparison/shots.svg": "What more support images bring. Left: classification among all unseen classes, by the "
    "network as trained (faint) and adapted (strong). Right: what adapting to a class gains in triplet accuracy.",
    "comparison/open_set.svg": "Half of the unseen classes are enrolled. Left: what it costs that few strangers are "
    "named. Right: above the line, more strangers pass than wished.",
    "comparison/classes.svg": "Classes differ far more than trainings do. Right: above 0 meta is better at a class.",
    "comparison/training.svg": "Both trainings see the same number of images; what they reach on held-out images of "
    "seen classes.",
    "{method}/map.png": "Test images of unseen classes, placed by t-SNE: what the network finds alike lies together.",
    "{method}/episode.png": "A one-shot episode: from the pictures at the top alone, the queries below were named.",
    "{method}/mistakes.png": "The triplets that the network gets most wrong, one for each pair of classes.",
}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 1000px; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; display: block; overflow-x: auto; font-size: 14px; }
td, th { border-bottom: 1px solid #ddd; padding: .3em .7em; text-align: left; font-variant-numeric: tabular-nums; }
figure { margin: 2em 0; } figure img { max-width: 100%; } figcaption { color: #444; }
code { background: #f2f2f2; padding: 0 .2em; }
"""


def page(record: Record) -> str:
    """The whole page, of the run in the record's folder.

    Raises:
        NotRun: there is none.
        UserError: its figures or a picture are damaged.
        FileNotFoundError: a picture is missing.
    """
    parts = [MARKDOWN.render(_state(record.root))]
    try:
        parts += [MARKDOWN.render(f"## {heading}\n\n{make(record)}") for heading, make in TABLES.items()]
    except (AttributeError, LookupError, TypeError, ValueError) as error:  # whatever a damaged file leads to
        raise UserError(f"{record.root}: has damaged figures ({error!r}); run `dvc repro`") from error
    captions = {pattern.format(method=method): words for pattern, words in CAPTIONS.items() for method in METHODS}
    parts += [_figure(record.root / "plots" / name, words) for name, words in captions.items()]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{TITLE}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{TITLE}</h1>\n{body}\n</body>\n</html>\n"
    )


def _state(root: Path) -> str:
    """Which run the page shows, and whether its parameters and figures are those of the commit."""
    command = ["git", "status", "--porcelain", "--", "params.yaml", "metrics", "plots"]
    found = subprocess.run(command, cwd=root, capture_output=True, text=True)
    changed = [f"`{line[3:]}`" for line in found.stdout.splitlines()]
    what = f"changed since the commit: {', '.join(changed)}" if changed else "as committed"
    what = "in no Git repository" if found.returncode else what
    return f"The run in the folder `{root.resolve().name}`, {what}."


def _figure(path: Path, caption: str) -> str:
    kind = {"svg": "image/svg+xml", "png": "image/png"}[path.suffix[1:]]
    content = path.read_bytes()
    try:  # of a damaged one, a browser would show a part or nothing
        ElementTree.fromstring(content) if path.suffix == ".svg" else read_picture(path, 8)
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise UserError(f"{path}: not a picture that can be read ({error})") from None
    words, encoded = html.escape(caption), base64.b64encode(content).decode()
    return f'<figure><img src="data:{kind};base64,{encoded}" alt="{words}"><figcaption>{words}</figcaption></figure>'
