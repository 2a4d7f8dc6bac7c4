"""Fill README.md's generated parts: the results, the parameters and the map of the code.

python scripts/write_readme.py      (after `dvc repro`, or after a change of params.yaml, dvc.yaml or a module)

Each part stands between `<!-- name:begin -->` and `<!-- name:end -->`; all else in README.md is written by hand.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import write_experiments
import write_speed
from markdown import markdown_table

from oneshot.comparison import HEADLINES, METHODS, flat
from oneshot.errors import UserError
from oneshot.files import read_json, read_table, write_text
from oneshot.stage import run_stage

NOT_RUN = "Not run yet: `dvc repro` makes `metrics/` and `plots/`, and `make readme` then writes the tables here."

PICTURES = {
    "plots/shots.svg": "Accuracy over the number of support images, as trained and adapted",
    "plots/episode_meta.png": "A one-shot episode: support images, queries, and what they were taken for",
    "plots/map_meta.png": "Test images of unseen classes, placed so that what the network finds alike lies together",
    "plots/roc.svg": "ROC curves on pairs of unseen classes, classic and meta",
}
Figures = dict[str, float]


def main() -> None:
    path = ROOT / "README.md"
    old = path.read_text(encoding="utf-8")
    new = filled(old, ROOT)
    if new != old:
        write_text(path, new)
    print(f"README.md: {'written' if new != old else 'up to date'}")


def filled(text: str, root: Path) -> str:
    """`text` with its generated parts made anew from the project in `root`.

    Raises:
        UserError: a marker is missing, or a file that the parts are made from cannot be read.
    """
    parts: dict[str, Callable[[Path], str]] = {
        "results": results, "speed": write_speed.summary, "parameters": parameters, "code": code_map
    }  # fmt: skip
    for name, make in parts.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise UserError(f"README.md: must have `{begin}` and after it `{end}`, each once")
        head, rest = text.split(begin)
        text = f"{head}{begin}\n\n{make(root).strip()}\n\n{end}{rest.split(end)[1]}"
    return text


def results(root: Path) -> str:
    """Tables of metrics/, how they were obtained, and the pictures of plots/."""
    if not all((root / f"metrics/{method}.json").exists() for method in METHODS):
        return NOT_RUN
    runs = write_experiments.seeds(root)
    default = next(iter(runs.values()))
    metrics = {method: flat(default[method]) for method in METHODS}
    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    there = [f"![{words}]({path})" for path, words in PICTURES.items() if (root / path).exists()]
    parts = []
    if len(runs) > 1:
        parts += [
            f"### Classic beside meta, means over {len(runs)} seeds, in %",
            write_experiments.SEEDS_TABLE,
            write_experiments.seeds_table(runs, write_experiments.finished(root).get("pure_triplet")),
        ]
    parts += [
        f"### Classic beside meta, seed {params['seed']}",
        "What `dvc repro` gives, here and in the tables and pictures below.",
        _headlines(metrics),
        "### Adapted to one unseen class at a time, in %",
        _adaptation(metrics),
        "### One-shot and five-shot classification among all unseen classes",
        _episodes(metrics),
        "### Beside the reference",
        _beside_reference(metrics, params, list(runs.values())),
        "### How it was obtained",
        _setting(root, params),
        *there,
    ]
    return "\n\n".join(parts)


def _headlines(metrics: dict[str, Figures]) -> str:
    """The figures that a person looks at first, with 95 % intervals where there are any."""
    rows = [
        [words, f"`{key}`", *(_with_interval(metrics[method], key) for method in METHODS), _gap(metrics, key)]
        for key, words in HEADLINES.items()
        if key in metrics["classic"]
    ]
    rows.append(
        ["calibrated threshold (a cosine)", "`threshold`", *(f"{metrics[m]['threshold']:.3f}" for m in METHODS), ""]
    )
    return markdown_table(["in %", "key in `metrics/*.json`", *METHODS, "meta - classic"], rows)


def _adaptation(metrics: dict[str, Figures]) -> str:
    """Triplet and binary accuracy as trained, and after adaptation to one class on K of its images."""
    columns = ["triplet_accuracy", "binary_accuracy"]
    names = {"unseen": "none: as trained"} | {f"{home}.unseen": shots for home, shots in _adapted_homes(metrics)}
    rows = [
        [words, *(_percent(metrics[method].get(f"{home}.{column}")) for column in columns for method in METHODS)]
        for home, words in names.items()
    ]
    return markdown_table(
        ["images adapted on", *(f"{column.split('_')[0]}, {method}" for column in columns for method in METHODS)], rows
    )


def _episodes(metrics: dict[str, Figures]) -> str:
    """N-way K-shot accuracy as trained, and after adaptation to the whole support set."""
    rows = []
    for home, shots in _adapted_homes(metrics):
        for key in (key for key in metrics["classic"] if re.fullmatch(rf"{home}\.\w+_shot\.accuracy", key)):
            as_trained = key.removeprefix(f"{home}.")
            for words, one in (("as trained", as_trained), ("adapted", key)):
                if one in metrics["classic"]:
                    rows.append(
                        [shots, words, *(_with_interval(metrics[method], one) for method in METHODS), f"`{one}`"]
                    )
    return markdown_table(["support images of a class", "in %", *METHODS, "key"], rows)


def _adapted_homes(metrics: dict[str, Figures]) -> list[tuple[str, str]]:
    """Names and numbers of support images of the adaptations, such as ("adapted_5", "5")."""
    found = (re.fullmatch(r"(adapted_(\d+|all))\.threshold", key) for key in metrics["classic"])
    return [(match[1], match[2]) for match in found if match]


def _beside_reference(metrics: dict[str, Figures], params: dict[str, Any], runs: list[dict[str, Any]]) -> str:
    """The reference's figures beside those of the same protocol here, of the default and means over its seeds."""
    rows = []
    over_seeds = [f"{len(runs)} seeds, calibrated"] if len(runs) > 1 else []
    for method, words, theirs, key in write_experiments.REFERENCE:
        fixed = metrics[method].get(key.replace("binary_accuracy", "binary_accuracy_fixed"))
        rows.append(
            [
                method,
                words,
                f"{theirs:.2f}",
                _percent(metrics[method].get(key)),
                *(write_experiments.interval([flat(run[method])[key] for run in runs], " t") for _ in over_seeds),
                _percent(fixed) if "binary" in key else "",
                f"`{key}`",
            ]
        )
    at_fixed = f"here, threshold {params.get('fixed_threshold', '')}".rstrip()
    return markdown_table(["training", "in %", "reference", "here, calibrated", *over_seeds, at_fixed, "key"], rows)


def _setting(root: Path, params: dict[str, Any]) -> str:
    """Network, images, classes, hardware and versions behind the results."""
    classes = ", ".join(str(row["class"]).replace("_", " ") for row in read_table(root / "plots/novel_classes.csv"))
    records = {method: read_json(root / f"plots/record_{method}.json") for method in METHODS}
    shape = "ResNet-18"
    if params["backbone"] == "small":
        shape = f"ResNet-{2 + 2 * sum(params['resnet_blocks'])} of {max(params['resnet_widths'])} channels"
    network = f"{shape}, {records['meta']['weights']:,} weights"
    lines = [
        f"- Parameters: `params.yaml` as committed. Data set {params['dataset']}, seed {params['seed']}; {network}.",
        f"- Unseen classes: {classes}.",
    ]
    for method, record in records.items():
        threads = f", threads: {record['threads']}" if record["device"] == "cpu" else ""
        images, machine = (
            f"{record['images']:,} images through the network",
            f"{record['hardware']} ({record['device']}",
        )
        versions = f"{record['system']}, Python {record['python']}, torch {record['torch']}"
        lines.append(f"- {method}: {images}; {machine}{threads}), {record['precision']}; {versions}.")
    return "\n".join(lines)


def _with_interval(figures: Figures, key: str) -> str:
    half_width = figures.get(f"{key.rpartition('.')[0]}.ci95") if key.endswith(".accuracy") else None
    return _percent(figures[key]) + (f" ± {100 * half_width:.2f}" if half_width is not None else "")


def _gap(metrics: dict[str, Figures], key: str) -> str:
    return f"{100 * (metrics['meta'][key] - metrics['classic'][key]):+.2f}"


def _percent(value: float | None) -> str:
    return "not measured" if value is None else f"{100 * value:.2f}"


def parameters(root: Path) -> str:
    """Every parameter of params.yaml, section by section, from its comment `meaning [the reference's value]`.

    Raises:
        UserError: a line without such a comment.
    """
    parts: list[str] = []
    rows: list[list[str]] = []
    for line in (root / "params.yaml").read_text(encoding="utf-8").splitlines():
        if section := re.fullmatch(r"# --- (.+?) -+", line):
            rows = []
            parts.append(f"### {section[1]}")
            parts.append("")
            continue
        if not line or line.startswith("#"):
            continue
        found = re.fullmatch(r"(\w+): (.+?) +# (.+?)(?: \[([^\[\]]+)\])?", line)
        if not found or not parts:
            raise UserError(f"params.yaml: found {line!r}; must be `name: value # meaning [reference]`, in a section")
        name, value, meaning, theirs = found.groups()
        rows.append([f"`{name}`", f"`{value}`", meaning, theirs or ""])
        parts[-1] = markdown_table(["parameter", "default", "meaning", "reference"], rows)
    return "\n\n".join(parts)


def code_map(root: Path) -> str:
    """Each module below the first stage of dvc.yaml that uses it, with the first line of its docstring."""
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    rows, listed = [], set()
    for stage in stages.values():
        script = stage["cmd"].split()[1]
        modules = [path for path in stage["deps"] if path.endswith(".py") and path != script]
        for path in [script, *modules]:
            if path not in listed:
                listed.add(path)
                shown = f"**[{path}]({path})**" if path == script else f"[{path}]({path})"
                rows.append([shown, _docstring(root / path)])
    folders = ("src/oneshot", "stages", "scripts", "benchmarks")
    others = [path for folder in folders for path in root.glob(f"{folder}/*.py")]
    for file in sorted(others):
        path = file.relative_to(root).as_posix()
        if path not in listed and file.name != "__init__.py":
            rows.append([f"[{path}]({path})", _docstring(file)])
    return markdown_table(["file", "what it is for"], rows)


def _docstring(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split("\n")[0]


if __name__ == "__main__":
    run_stage(main)
