"""Tables of runs beside each other, and of the project's figures beside published ones, in %."""

from __future__ import annotations

from statistics import mean

from oneshot.record.markdown import estimated, percent, table
from oneshot.record.studies import NotRun, Record
from oneshot.report.comparison import METHODS, flat

# Table -> runs ("default": the project's own), the first being what the others differ from -> words for them.
RUNS = {
    "triplet_alone": {
        "short": "with the softmax",
        "short_triplets": "all triplets",
        "short_random_triplets": "random triplets",
    },
    "scaled": {"default": "default", "reference_scaled": "its recipe, scaled down"},
    "splits": {
        "short": "90 seen, 10 unseen",
        "unseen_20": "80 seen, 20 unseen",
        "unseen_50": "50 seen, 50 unseen",
    },
    "warm_start": {
        "short": "500,000 from random weights",
        "warm_half": "250,000 from random weights",
        "warm_start": "then 250,000 from classic's",
    },
}
CIFAR_FS = {
    "cifar_fs": "here",
    "cifar_fs_narrow": "here, at half the cost",
    "large": "here, `make large`",
    "large_one": "here, one network of `make large`",
}
# 5-way: chance does not depend on how many classes are unseen.
MEASURES = {
    "triplet accuracy": "unseen.triplet_accuracy",
    "5-way 1-shot": "unseen.sampled_episodes.one_shot.accuracy",
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


def beside(record: Record, kind: str) -> str:
    """A line for each run: accuracy on its unseen classes.

    Where runs share some of these, also how well those are told from all that are unseen.

    Raises:
        NotRun: the first or all others are not there.
    """
    first, *others = RUNS[kind]
    there = [name for name in others if name in record.done]
    if not there:
        raise NotRun("make studies")
    runs = {name: record.default if name == "default" else record.study(name) for name in (first, *there)}
    classes = [{row["class"] for row in run["classes"]} for run in runs.values()]
    if (shared := set.intersection(*classes)) == set.union(*classes):
        shared = set()
    rows = []
    for name, run in runs.items():
        found = [flat(run[method])[path] for path in MEASURES.values() for method in METHODS]
        for method in METHODS if shared else ():
            found.append(mean(row[f"{method}_triplet_accuracy"] for row in run["classes"] if row["class"] in shared))
        rows.append([RUNS[kind][name], *map(percent, found)])
    measures = [*MEASURES, *([f"triplet accuracy, the {len(shared)} classes unseen in all"] if shared else [])]
    return table(["run", *(f"{measure}, {method}" for measure in measures for method in METHODS)], rows)


def cifar_fs(record: Record) -> str:
    """5-way accuracy on CIFAR-FS beside published figures, from the lowest to the highest."""
    rows = [[name, f"{one:.1f}", f"{five:.1f}"] for name, (one, five) in record.published["cifar_fs"].items()]
    record.study("cifar_fs")
    for name, words in CIFAR_FS.items():
        for method in METHODS if name in record.done else ():
            sampled = record.done[name][method]["unseen"]["sampled_episodes"]
            cells = [estimated(*(sampled[shot][key] for key in ("accuracy", "ci95"))) for shot in sampled]
            rows.append([f"**{method}, {words}**", *cells])
    return table(["", "1-shot", "5-shot"], sorted(rows, key=lambda row: float(row[1].split()[0])))
