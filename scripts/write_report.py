"""Write report.html: all pictures and tables of the last run in one file that needs no network.

python scripts/write_report.py                (after `dvc repro`)
python scripts/write_report.py runs/demo      (of another run)
"""

from __future__ import annotations

import argparse
import base64
import html
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from write_readme import results

from oneshot.comparison import METHODS
from oneshot.errors import UserError
from oneshot.files import write_text
from oneshot.stage import run_stage

CAPTIONS = {
    "roc.svg": "ROC on pairs of classes that training never saw: the further to the upper left, the better. "
    "A dot marks the threshold calibrated on seen classes: it should lie where the curve leaves the diagonal farthest.",
    "similarities.svg": "Cosines of pairs of unseen classes. Where the two shapes overlap, no threshold can be right.",
    "shots.svg": "What more support images bring. Left: classification among all unseen classes. Right: triplets, for "
    "the network as trained (faint) and adapted to the class (strong).",
    "novel_classes.svg": "Classes differ far more than trainings do: look at which ones are hard for both.",
    "training.svg": "Both trainings see the same number of images; what they reach on held-out images of seen classes.",
    "map_{method}.png": "Test images of unseen classes, placed by t-SNE: what the network finds alike lies together.",
    "episode_{method}.png": "A one-shot episode: from the picture at the left alone, each row's queries were named.",
    "mistakes_{method}.png": "The triplets that the network gets most wrong, one for each pair of classes.",
}

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 1000px; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; display: block; overflow-x: auto; font-size: 14px; }
td, th { border-bottom: 1px solid #ddd; padding: .3em .7em; text-align: left; font-variant-numeric: tabular-nums; }
figure { margin: 2em 0; } figure img { max-width: 100%; } figcaption { color: #444; }
code { background: #f2f2f2; padding: 0 .2em; }
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Write all pictures and tables of a run into one HTML file.")
    parser.add_argument("folder", nargs="?", default=ROOT, type=Path, help="of the run (default: this project's own)")
    folder = parser.parse_args().folder
    if not (folder / "metrics/classic.json").exists():
        raise UserError(f"{folder}: has no metrics/; run `dvc repro` first")
    path = folder / "report.html"
    write_text(path, page(folder))
    print(f"{os.path.relpath(path)}: written; open it in a browser")


def page(root: Path) -> str:
    """The whole page, from the run in `root`."""
    tables = [block for block in results(root).split("\n\n") if not block.startswith("![")]
    parts = [_block(block) for block in tables]
    for pattern, caption in CAPTIONS.items():
        for name in dict.fromkeys(pattern.format(method=method) for method in METHODS):
            if (root / "plots" / name).exists():
                parts.append(_figure(root / "plots" / name, caption))
    body = "\n".join(parts)
    title = "Classic and Reptile training, measured on classes that they never saw"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    )


def _figure(path: Path, caption: str) -> str:
    kind = {"svg": "image/svg+xml", "png": "image/png"}[path.suffix[1:]]
    content = base64.b64encode(path.read_bytes()).decode()
    words = html.escape(caption)
    return f'<figure><img src="data:{kind};base64,{content}" alt="{words}"><figcaption>{words}</figcaption></figure>'


def _block(text: str) -> str:
    """A block of the README's generated Markdown, a heading, list or table, as HTML."""
    lines = text.splitlines()
    if text.startswith("### "):
        return f"<h2>{_inline(text[4:])}</h2>"
    if text.startswith("- "):
        return "<ul>" + "".join(f"<li>{_inline(line[2:])}</li>" for line in lines) + "</ul>"
    if text.startswith("| "):
        rows = [line.strip("| ").split(" | ") for line in lines if not line.startswith("| ---")]
        head = "".join(f"<th>{_inline(cell)}</th>" for cell in rows[0])
        cells = ("".join(f"<td>{_inline(cell)}</td>" for cell in row) for row in rows[1:])
        return f"<table><tr>{head}</tr>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"
    return f"<p>{_inline(text)}</p>"


def _inline(text: str) -> str:
    pieces = html.escape(html.unescape(text.replace("\\|", "|"))).split("`")
    return "".join(f"<code>{piece}</code>" if place % 2 else piece for place, piece in enumerate(pieces))


if __name__ == "__main__":
    run_stage(main)
