"""Tables of runs beside each other, and of the project's figures beside published ones, in %."""

from __future__ import annotations

from statistics import mean

from oneshot.record.markdown import estimated, percent, table
from oneshot.record.studies import NotRun, Record, Study
from oneshot.record.tables import WORDS
from oneshot.report.comparison import METHODS, flat, headlines

# Runs ("default": the project's own) and words for them; the first is what the others differ from.
TRIPLET_ALONE = {
    "default": "default",
    "pure_triplet": "all triplets of a batch",
    "random_triplets": "random triplets, a hinge",
}
SCALED = {"default": "default", "reference_scaled": "its recipe, scaled down"}
FEWER_IMAGES = {"default": "default", "budget_500": "500,000 images"}
SPLITS = {"budget_500": "90 seen, 10 unseen", "unseen_20": "80 seen, 20 unseen", "unseen_50": "50 seen, 50 unseen"}
WARM_START = {
    "budget_500": "500,000 from random weights",
    "warm_half": "250,000 from random weights",
    "warm_start": "then 250,000 from classic's",
}
DRAWS = {"default": "default", **{f"draw_{number}": f"draw {number}" for number in (1, 2, 3)}}
CIFAR_FS = {"cifar_fs": "here", "cifar_fs_sgd": "here, SGD in place of Muon and no cutout"}
FIVE_WAY = {  # chance does not depend on how many classes are unseen
    f"unseen.sampled_episodes.{shots}.accuracy": f"{words} accuracy, 5 of the unseen classes"
    for shots, words in (("one_shot", "one-shot"), ("five_shot", "five-shot"))
}


def missing(record: Record) -> str:
    """How many lines have figures for the present default, and a table of the others and what they wait for."""
    rows = [
        [f"`{name}`", line["why"], line.get("needs", "time")]
        for name, line in record.lines.items()
        if name not in record.done
    ]
    done = f"Done with the present default: {len(record.done)} of {len(record.lines)}."
    return f"{done} No figures yet:\n\n{table(['line', 'why', 'it needs'], rows)}" if rows else done


def beside(record: Record, runs: dict[str, str]) -> str:
    """A line for each measure that the runs beside the first have taken, two columns for each run."""
    there = _runs(record, runs)
    columns = {}
    for words, run in there.items():
        for method in METHODS:
            details = flat(run[method])
            sampled = {key: details[key] for key in FIVE_WAY if key in details}
            columns[f"{words}, {method}"] = headlines(run[method]) | sampled
    rows = []
    for key, words in (WORDS | FIVE_WAY).items():
        cells = [percent(figures.get(key)) for figures in columns.values()]
        if any(cells[len(METHODS) :]):
            rows.append([words, *cells])
    return table(["measure", *columns], rows)


def shared_classes(record: Record, runs: dict[str, str]) -> str:
    """Triplet accuracy on the classes that no run has seen, negatives from all its unseen ones."""
    there = _runs(record, runs)
    shared = set.intersection(*({row["class"] for row in run["classes"]} for run in there.values()))
    cells = [
        percent(mean(row[f"{method}_triplet_accuracy"] for row in run["classes"] if row["class"] in shared))
        for run in there.values()
        for method in METHODS
    ]
    heading = [f"{words}, {method}" for words in there for method in METHODS]
    return table(["measure", *heading], [[f"triplet accuracy, {len(shared)} classes", *cells]])


def reference_scaled(record: Record) -> str:
    """The reference's figures, and the same of its recipe scaled down, at three thresholds."""
    scaled = _line(record, "reference_scaled")
    rows = []
    for theirs in record.published["reference"]:
        figures, key = flat(scaled[theirs["training"]]), theirs["key"]
        kinds = ("binary_accuracy_fixed", "binary_accuracy", "binary_accuracy_best")
        paths = (
            ["", *(key.replace("binary_accuracy", kind) for kind in kinds)] if "binary" in key else [key, "", "", ""]
        )
        cells = [percent(figures.get(path)) for path in paths]
        rows.append([theirs["training"], theirs["words"], f"{theirs['percent']:.2f}", *cells])
    heading = ["reference (at 0.7)", "scaled down: no threshold", "at 0.7", "calibrated", "best"]
    return table(["training", "in %", *heading], rows)


def cifar_fs(record: Record) -> str:
    """5-way accuracy on CIFAR-FS beside published figures, from the lowest to the highest."""
    rows = [[name, f"{one:.1f}", f"{five:.1f}"] for name, (one, five) in record.published["cifar_fs"].items()]
    _line(record, "cifar_fs")
    for name, words in CIFAR_FS.items():
        for method in METHODS if name in record.done else ():
            sampled = record.done[name][method]["unseen"]["sampled_episodes"]
            cells = [estimated(*(sampled[shot][key] for key in ("accuracy", "ci95"))) for shot in sampled]
            rows.append([f"**{method}, {words}**", *cells])
    return table(["", "1-shot", "5-shot"], sorted(rows, key=lambda row: float(row[1].split()[0])))


def _runs(record: Record, runs: dict[str, str]) -> dict[str, Study]:
    """Those that are there, by the words for them.

    Raises:
        NotRun: the first or all others are not.
    """
    first, *others = runs
    there = [name for name in others if name in record.done]
    if not there:
        raise NotRun("make studies")
    return {runs[name]: record.default if name == "default" else _line(record, name) for name in (first, *there)}


def _line(record: Record, name: str) -> Study:
    if name not in record.done:
        raise NotRun(f"python scripts/run_studies.py {name}")
    return record.done[name]
