"""Write docs/experiments.md, tables of the record of experiments, and docs/ablations.svg, from metrics/ and studies/.

python scripts/write_experiments.py      (after `dvc repro` or scripts/run_studies.py)
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, variance
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import matplotlib.pyplot as plt
import numpy as np
import write_speed
import yaml
from markdown import markdown_table
from run_studies import load_line, load_result, load_studies
from scipy.stats import t as student_t

from oneshot.comparison import HEADLINES, METHODS, flat
from oneshot.episodes import confidence
from oneshot.files import read_json, read_table, write_text
from oneshot.plots import COLOURS, save  # importing it also makes SVGs reproducible
from oneshot.stage import run_stage

MAIN = HEADLINES | {"unseen_reference.binary_accuracy": "binary accuracy, unseen classes, negatives seen"}
FIVE_WAY = {  # chance does not depend on how many classes are unseen
    f"sampled_episodes.{shot}.accuracy": f"{words} accuracy, 5 of the unseen classes"
    for shot, words in (("one_shot", "one-shot"), ("five_shot", "five-shot"))
}
PUBLISHED = {  # CIFAR-FS, 5-way 1-shot and 5-shot, trained from scratch, as the papers give them
    "MAML": (58.9, 71.5),
    "R2D2": (65.3, 79.4),
    "ProtoNet, ResNet-12": (72.2, 83.5),
    "MetaOptNet, ResNet-12": (72.6, 84.3),
    "RFS, ResNet-12": (71.5, 86.0),
    "RFS distilled, ResNet-12": (73.9, 86.9),
    "SKD-GEN1, ResNet-12": (76.9, 88.9),
    "HCTransformers, ViT-S": (78.9, 90.5),
}
# What the reference reports: training, what of it, percent, and the key of the same figure here.
REFERENCE = (
    ("classic", "triplet accuracy, seen classes", write_speed.REFERENCE_TRIPLET, "seen.triplet_accuracy"),
    ("classic", "binary accuracy, seen classes", 80.95, "seen.binary_accuracy"),
    ("classic", "binary accuracy, unseen classes", 83.06, "unseen_reference.binary_accuracy"),
    ("meta", "triplet accuracy, seen classes, adapted", 73.44, "adapted_seen_all.triplet_accuracy"),
    ("meta", "binary accuracy, seen classes, adapted", 67.60, "adapted_seen_all.binary_accuracy"),
    ("meta", "triplet accuracy, unseen classes, adapted", 80.0, "adapted_all.unseen_reference.triplet_accuracy"),
    ("meta", "binary accuracy, unseen classes, adapted", 68.80, "adapted_all.unseen_reference.binary_accuracy"),
)
CIFAR_FS = {"cifar_fs": "here", "cifar_fs_sgd": "here, SGD in place of Muon and no cutout"}


class Beside(NamedTuple):
    """Runs beside each other, one of each; the first is what the others differ from."""

    heading: str
    runs: dict[str, str]  # name ("default": the project's own), and words for it
    note: str = ""


SCALED, SPLITS = "reference_scaled", "unseen_50"
BESIDE = (
    Beside(
        "The triplet loss alone, at the same budget",
        {
            "default": "default",
            "pure_triplet": "all triplets of a batch",
            "random_triplets": "random triplets, a hinge",
        },
        "All triplets of a batch: Reptile's tasks have 32 classes in place of 64. Random triplets and a hinge are the "
        "reference's objective, in batches of 192 images, by this project's optimizer, with rates not chosen for it.",
    ),
    Beside(
        "The reference's recipe, scaled down to a CPU",
        {"default": "default", SCALED: "its recipe, scaled down"},
        "A ResNet-8 of 64 channels in place of its ResNet-56, 1.5 million images in place of 115, and hence 130 outer "
        "steps in place of 10,000, of 0.77 in place of 0.01, so that all together go as far; all else as the reference "
        "has it, measured as here.",
    ),
    Beside("Fewer images", {"default": "default", "budget_500": "500,000 images"}),
    Beside(
        "More classes unseen, fewer seen, 500,000 images",
        {"budget_500": "90 seen, 10 unseen", "unseen_20": "80 seen, 20 unseen", SPLITS: "50 seen, 50 unseen"},
        "With 50 classes seen, Reptile's tasks have 32 classes in place of 64.",
    ),
    Beside(
        "A warm start: Reptile from classic's weights, beside classic trained on, for the same 500,000 images in all",
        {
            "budget_500": "500,000 from random weights",
            "warm_half": "250,000 from random weights",
            "warm_start": "then 250,000 from classic's",
        },
        "Rates and outer steps start and fall anew from classic's weights.",
    ),
)
ADAPTATIONS = {  # grids of scripts/search_adaptation.py, and what moved
    "adaptation": "a linear map, as the default does, of networks trained by SGD",
    "adaptation_all_weights": "all weights of networks of an earlier default",
}
Study = dict[str, Any]

BASE, SEEDS = "ablation_none", "ablation_seed_"  # the short run that changes nothing, and it with other random numbers
BOOTSTRAPS = 10_000
SEEDS_TABLE = (
    "`± t`: half-width of Student's 95 % interval over seeds, for the difference paired by seed. `classes`: 95 % "
    f"interval of a bootstrap over the unseen classes ({BOOTSTRAPS:,} draws), each class's mean over the seeds taken "
    "as its figure."
)


def main() -> None:
    write_text(ROOT / "docs/experiments.md", page(ROOT))
    if BASE in (short := short_runs(finished(ROOT))):
        draw_ablations(short, ROOT / "docs/ablations.svg")
    print("docs/experiments.md: written")


def finished(root: Path) -> dict[str, Study]:
    """The lines of studies/runs.yaml that have figures for the present default."""
    done = {}
    for name, study in load_studies().items():
        if (result := load_line(name, study, root)) is not None:
            done[name] = result | {"why": study["why"]}
    return done


def short_runs(done: dict[str, Study]) -> dict[str, Study]:
    """Those that are judged on validation classes."""
    studies = load_studies()
    return {name: study for name, study in done.items() if studies[name].get("config") == "configs/ablation.yaml"}


def page(root: Path) -> str:
    """The whole page, from the project in `root`."""
    studies = load_studies()
    done = finished(root)
    runs = seeds(root)
    default = next(iter(runs.values()))
    with_default = {"default": default} | done
    others = {name: study for name, study in with_default.items() if name.startswith(("default", "draw_"))}
    short = short_runs(done)
    parts = [
        "# Record of experiments",
        "Written by `python scripts/write_experiments.py` from `metrics/` and `studies/`; do not edit. Each line of "
        "[studies/runs.yaml](../studies/runs.yaml) is a run of the pipeline: `make studies` makes those that are "
        f"missing and need nothing but time, `python scripts/run_studies.py NAME` any. Done with the present default: "
        f"{len(done)} of {len(studies)}.",
        *missing(done),
        f"## The default, {len(runs)} seed{'s' if len(runs) > 1 else ''}, in %",
        SEEDS_TABLE,
        seeds_table(runs, done.get("pure_triplet")),
        "## What adaptation gains, in points of triplet accuracy",
        "Paired: the same seeds, classes and supports; 95 % intervals (Student's) over classes, each class's mean over "
        "the seeds taken as its figure. "
        "*Prototype*: how often an image of the class is nearer to the mean of the same supports than one of another "
        "class, to the frozen network and to the adapted one, in %.",
        gains_table(runs),
        "## One threshold or several, in %",
        thresholds_table(default),
        "## Near-copies",
        f"{default['classic'].get('near_copies', 0)} test images have a near-copy among the training images; "
        "`src/oneshot/near_copies.py` says what that is. Figures in %, with and without them:",
        near_copies_table(default),
    ]
    if len(others) > 1:
        parts += ["## Other unseen classes, in %", runs_table(others, MAIN)]
    for beside in BESIDE:
        there = [name for name in beside.runs if name in with_default]
        if len(there) > 1 and there[0] == next(iter(beside.runs)):
            rows = {beside.runs[name]: with_default[name] for name in there}
            parts += [f"## {beside.heading}, in %", *([beside.note] if beside.note else [])]
            parts.append(runs_table(rows, MAIN | FIVE_WAY))
            if SCALED in there:
                parts += [
                    "How much of the reference's gap between the trainings was the threshold? The reference's figures, "
                    "and those of its recipe scaled down: triplet accuracy, which has no threshold, and binary "
                    "accuracy at three. Seen classes, adapted: ten of them; not adapted: all 90.",
                    reference_table(done[SCALED]),
                ]
            if SPLITS in there:
                parts += [
                    "The same on the classes that are unseen in all of them, negatives from all unseen ones:",
                    shared_classes_table(rows),
                ]
    if sampled := {words: done[name] for name, words in CIFAR_FS.items() if name in done}:
        parts += [
            "## CIFAR-FS, 5-way, in %",
            "Published figures as the papers give them, all trained from scratch. Here: the default's network and "
            "number of images, 500 images of each of the 64 training classes, 15 queries a class, 2,000 episodes, 95 % "
            "intervals over episodes; embeddings are averaged over several views of an image (`views`).",
            cifar_fs_table(sampled),
        ]
    if BASE in short:
        changes = {name: studies[name]["set"] for name in short}
        groups = [{name: short[name] for name in short if name.startswith(prefix)} for prefix in ("ablation_", "meta_")]
        longer = {name: short[name] for name in short if name not in {**groups[0], **groups[1]}}
        parts += [
            "## Ablations, on validation classes",
            "Short trainings, judged on ten validation classes; the unseen classes take no part. Each line changes one "
            "choice of the first line, or a few that go together. That first line is the default but for SGD in place "
            "of Muon and no cutout, which came later, ten views in place of twelve, the number of images and the "
            f"validation classes. {luck(short)}",
            "![What each change costs or brings, in points of triplet accuracy](ablations.svg)",
            "### What each part of the recipe brings, in %",
            ablation_table(groups[0], changes),
            "### What makes Reptile work or break, in %",
            ablation_table({BASE: short[BASE]} | groups[1], changes, ["meta"]),
            "### More images, in %",
            "The reference supposed that more iterations would help.",
            ablation_table({BASE: short[BASE]} | longer, changes),
        ]
    if (root / "studies/search.csv").exists():
        parts += [
            "## The search that settled the default, on validation classes",
            "Written down as the search went, against settings of its time. Each line repeats, but for luck of a few "
            "tenths of a point, with `python scripts/run_config.py configs/ablation.yaml --set image_budget=IMAGES "
            "--set NAME=VALUE ...`.",
            search_table(root),
        ]
    if (root / "studies/thresholds.csv").exists():
        parts += [
            "## Which threshold to take from seen classes, on validation classes",
            "Points of binary accuracy that validation classes lose, against their best threshold, where seen classes' "
            "held-out images give it by these criteria (`scripts/search_threshold.py`). The short trainings are judged "
            "on the labels 80-89, those of the default's length on CIFAR-FS's 16 validation classes. The longer a "
            "training, the further apart it pulls the classes that it sees, and only those: their own best threshold "
            "is too high for new ones. At a fixed rate of false positives among seen classes, a lower one is taken; "
            "the rate that suits falls as trainings grow longer.",
            criteria_table(root),
        ]
    for prefix, what in ADAPTATIONS.items():
        if (root / f"studies/{prefix}_classic.csv").exists():
            parts += [
                f"## How far to adapt {what}, on validation classes",
                "Mean gain in triplet accuracy over the frozen network ± its standard error, in points "
                "(`scripts/search_adaptation.py`).",
                adaptation_table(root, prefix),
            ]
    return "\n\n".join(parts) + "\n"


def seeds(root: Path) -> dict[str, Study]:
    """The default's run and, after it, those that differ in nothing but the seed."""
    default: Study = {method: read_json(root / f"metrics/{method}.json") for method in METHODS}
    default["classes"] = read_table(root / "plots/novel_classes.csv")
    seed = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))["seed"]
    names = sorted(path.stem for path in root.glob("studies/seed_*.json"))
    others = {name.replace("_", " "): load_result(name, root) for name in names}
    return {f"seed {seed}": default} | {words: study for words, study in others.items() if study is not None}


def missing(done: dict[str, Study]) -> list[str]:
    """A table of the lines that have no figures, and what they wait for; empty where there is none."""
    rows = [
        [f"`{name}`", study["why"], study.get("needs", "time")]
        for name, study in load_studies().items()
        if name not in done
    ]
    return ["No figures with the present default:", markdown_table(["line", "why", "it needs"], rows)] if rows else []


def seeds_table(runs: dict[str, Study], alone: Study | None = None) -> str:
    """Means over seeds, with an interval over seeds, and one over classes where figures by class are at hand.

    Last, one run of the triplet loss `alone`.
    """
    by_class = {"unseen.triplet_accuracy": "triplet_accuracy", "unseen.binary_accuracy": "binary_accuracy"}
    rows = []
    for key, words in MAIN.items():
        row = [words, f"`{key}`"]
        figures = {method: np.array([flat(run[method])[key] for run in runs.values()]) for method in METHODS}
        for method in METHODS:
            cell = interval(figures[method], " t")
            if column := by_class.get(key):
                low, high = bootstrap([[r[f"{method}_{column}"] for r in run["classes"]] for run in runs.values()])
                cell += f" (classes {100 * low:.1f} to {100 * high:.1f})"
            row.append(cell)
        rows.append([*row, interval(figures["meta"] - figures["classic"], " t")])
    if alone:
        key = next(iter(MAIN))
        figures = {method: np.array([flat(alone[method])[key]]) for method in METHODS}
        cells = [interval(values, "") for values in (*figures.values(), figures["meta"] - figures["classic"])]
        rows.append([f"*beside it, the triplet loss alone, one seed:* {MAIN[key]}", f"`{key}`", *cells])
    return markdown_table(["measure", "key", *METHODS, "meta - classic"], rows)


def gains_table(runs: dict[str, Study]) -> str:
    """Gains of adapted over frozen networks, and of meta over classic, both adapted."""
    names = [key for key in next(iter(runs.values()))["classic"] if key.startswith("adapted_") and "seen" not in key]
    rows = []
    for name in names:
        adapted, frozen = ({m: _column(runs, f"{m}_{c}") for m in METHODS} for c in _columns(name))
        cells = [interval(adapted[m] - frozen[m], "") for m in METHODS]
        cells.append(interval(adapted["meta"] - adapted["classic"], ""))
        for method in METHODS:
            key = f"{method}_{name}_prototype_accuracy"
            frozen_mean, adapted_mean = (100 * _column(runs, column).mean() for column in (f"{key}_frozen", key))
            cells.append(f"{frozen_mean:.2f}, {adapted_mean:.2f}")
        rows.append([name.removeprefix("adapted_"), *cells])
    heading = ["images", "classic, over frozen", "meta, over frozen", "meta over classic, both adapted"]
    return markdown_table([*heading, *(f"{m}, prototype: frozen, adapted" for m in METHODS)], rows)


def _columns(name: str) -> tuple[str, str]:
    return f"{name}_triplet_accuracy", "triplet_accuracy"


def _column(runs: dict[str, Study], column: str) -> np.ndarray:
    """A column of the table of classes (classes,): means over runs."""
    return np.array([[float(row[column]) for row in run["classes"]] for run in runs.values()]).mean(axis=0)


def thresholds_table(default: Study) -> str:
    """The reference's second hypothesis: one fixed, calibrated, best threshold, or one for each class."""
    kinds = {
        "binary_accuracy_fixed": "0.7, as the reference",
        "binary_accuracy": "calibrated on seen classes",
        "binary_accuracy_best": "the best single one, known in hindsight",
        "binary_accuracy_own_thresholds": "the best one for each class, known in hindsight",
    }
    rows = [
        [words, *(f"{100 * default[method]['unseen'][key]:.2f}" for method in METHODS)] for key, words in kinds.items()
    ]
    return markdown_table(["threshold", *METHODS], rows)


def near_copies_table(default: Study) -> str:
    """How much do test images that training all but knows flatter the figures?"""
    rows = []
    for group in ("seen", "unseen"):
        for key in ("triplet_accuracy", "binary_accuracy"):
            homes = [default[method].get(home) for method in METHODS for home in (group, f"{group}_distinct")]
            cells = [f"{100 * home[key]:.2f}" if home else "" for home in homes]
            rows.append([f"{key.replace('_', ' ')}, {group} classes", *cells])
    heading = [f"{method}, {words}" for method in METHODS for words in ("all test images", "without near-copies")]
    return markdown_table(["measure", *heading], rows)


def runs_table(runs: dict[str, Study], measures: dict[str, str]) -> str:
    """A line for each measure that a run has taken, two columns for each run."""
    figures = {f"{name}, {method}": _measured(run, method) for name, run in runs.items() for method in METHODS}
    rows = []
    for key, words in measures.items():
        cells = [f"{100 * found[key]:.2f}" if key in found else "" for found in figures.values()]
        if any(cells):
            rows.append([words, *cells])
    return markdown_table(["measure", *figures], rows)


def _measured(run: Study, method: str) -> dict[str, float]:
    """A training's metrics; without those of adapted networks where none was adapted."""
    adapted = run.get("parameters", {}).get("adapt_shots") != []
    return {key: value for key, value in flat(run[method]).items() if adapted or not key.startswith("adapted")}


def shared_classes_table(runs: dict[str, Study]) -> str:
    """Triplet accuracy on the classes that no run has seen, two columns for each run."""
    shared = set.intersection(*({row["class"] for row in run["classes"]} for run in runs.values()))
    cells = [
        f"{100 * mean(row[f'{method}_triplet_accuracy'] for row in run['classes'] if row['class'] in shared):.2f}"
        for run in runs.values()
        for method in METHODS
    ]
    heading = ["measure", *(f"{name}, {method}" for name in runs for method in METHODS)]
    return markdown_table(heading, [[f"triplet accuracy, {len(shared)} classes", *cells]])


def reference_table(scaled: Study) -> str:
    """The reference's figures, and the same of its recipe `scaled` down, at three thresholds."""
    rows = []
    for method, words, theirs, key in REFERENCE:
        kinds = ("binary_accuracy_fixed", "binary_accuracy", "binary_accuracy_best")
        binary = "binary" in key
        keys = [None, *(key.replace("binary_accuracy", kind) for kind in kinds)] if binary else [key, None, None, None]
        figures = flat(scaled[method])
        rows.append([method, words, f"{theirs:.2f}", *(f"{100 * figures[k]:.2f}" if k else "" for k in keys)])
    heading = ["training", "in %", "reference (at 0.7)", "scaled down: no threshold", "at 0.7", "calibrated", "best"]
    return markdown_table(heading, rows)


def cifar_fs_table(studies: dict[str, Study]) -> str:
    """Beside published figures."""
    rows = [[name, f"{one:.1f}", f"{five:.1f}"] for name, (one, five) in PUBLISHED.items()]
    for words, study in studies.items():
        for method in METHODS:
            sampled = study[method]["sampled_episodes"]
            cells = [
                f"{100 * sampled[shot]['accuracy']:.2f} ± {100 * sampled[shot]['ci95']:.2f}"
                for shot in ("one_shot", "five_shot")
            ]
            rows.append([f"**{method}, {words}**", *cells])
    return markdown_table(["", "1-shot", "5-shot"], sorted(rows, key=lambda row: float(row[1].split()[0])))


def ablation_table(
    studies: dict[str, Study], changes: dict[str, dict[str, Any]], methods: Sequence[str] = METHODS
) -> str:
    """What each short run gives on validation classes, by what it changes, beside the one that changes nothing."""
    measures = {"triplet": validation_triplet, "one-shot": validation_one_shot}
    rows = []
    for name, study in studies.items():
        cells = [f"{100 * get(study[method]):.2f}" for method in methods for get in measures.values()]
        shown = ", ".join(f"`{key}: {value}`" for key, value in changes[name].items()) or "nothing"
        rows.append([shown, study["why"], *cells, f"{study['record_meta']['images']:,}"])
    heading = [f"{method}, {words}" for method in methods for words in measures]
    return markdown_table(["changed", "why", *heading, "images"], rows)


def validation_triplet(metrics: Any) -> float:
    """Triplet accuracy on validation classes, a fraction of 1."""
    return float(metrics["validation"]["triplet_accuracy"])


def validation_one_shot(metrics: Any) -> float:
    """One-shot accuracy among all validation classes, a fraction of 1."""
    return float(metrics["validation"]["one_shot"]["accuracy"])


def unchanged(short: dict[str, Study], method: str) -> list[float]:
    """Triplet accuracy of the short run that changes nothing, once for each seed."""
    return [validation_triplet(short[name][method]) for name in short if name == BASE or name.startswith(SEEDS)]


def band(short: dict[str, Study]) -> float:
    """Half-width of the 95 % interval of the difference between one run and the mean of the unchanged ones.

    Student's, with the variance over seeds pooled over both trainings; 0 where there is one seed.
    """
    figures = [unchanged(short, method) for method in METHODS]
    if (seeds := len(figures[0])) < 2:
        return 0.0
    pooled = mean(variance(values) for values in figures)
    return float(student_t.ppf(0.975, len(METHODS) * (seeds - 1))) * (pooled * (1 + 1 / seeds)) ** 0.5


def luck(short: dict[str, Study]) -> str:
    """A sentence on what luck does to a line of the table."""
    classic, meta = (unchanged(short, method) for method in METHODS)
    if len(classic) < 2:
        return "How much of a difference is luck, other seeds have yet to show."
    return (
        f"Over {len(classic)} seeds the unchanged line has a mean of {100 * mean(classic):.2f} (classic) and "
        f"{100 * mean(meta):.2f} % (meta) of triplet accuracy. From these means, less than {100 * band(short):.2f} "
        "points may be luck: so far apart lie 95 % of single runs, by Student's interval, for one line; among so many "
        "lines, one or two will pass it by luck."
    )


def draw_ablations(short: dict[str, Study], path: Path) -> None:
    """A line for each change: how far triplet accuracy on validation classes moves, classic and meta."""
    names = [name for name in short if not name.startswith(SEEDS) and name != BASE]
    figure, axes = plt.subplots(figsize=(10, 0.36 * len(names) + 1.6))
    axes.axvspan(-100 * band(short), 100 * band(short), color="#EEEEEE", label="luck")
    axes.axvline(0, color="grey", linewidth=1)
    for method, marker, shift in (("classic", "o", -0.12), ("meta", "D", 0.12)):
        base = mean(unchanged(short, method))
        shown = [n for n in names if method == "meta" or not n.startswith("meta_")]  # those change Reptile alone
        moved = [100 * (validation_triplet(short[name][method]) - base) for name in shown]
        places = [names.index(name) + shift for name in shown]
        axes.plot(moved, places, marker, color=COLOURS[method], markersize=7, label=method)
    axes.set_yticks(range(len(names)), [short[name]["why"] for name in names])
    axes.tick_params(axis="y", labelsize=10)
    axes.invert_yaxis()
    axes.set(
        xlabel="points of triplet accuracy on validation classes,\nagainst the mean of the runs that change nothing"
    )
    axes.legend(loc="best")
    save(figure, path)


def search_table(root: Path) -> str:
    """Short runs, in the order in which they were made: what differed from the default of their time."""
    rows = [
        [
            row["method"],
            f"`{row['changed']}`",
            f"{row['images']:,}",
            *(f"{100 * row[key]:.2f}" for key in ("triplet", "one_shot", "five_shot")),
        ]
        for row in read_table(root / "studies/search.csv")
    ]
    return markdown_table(["training", "changed", "images", "triplet, %", "one-shot, %", "five-shot, %"], rows)


def criteria_table(root: Path) -> str:
    """The table of scripts/search_threshold.py."""
    rows = read_table(root / "studies/thresholds.csv")
    criteria = [key for key in rows[0] if key in ("balanced", "eer") or key.startswith("fpr_")]
    lines = [
        [row["method"], f"{row['images']:,}", f"{row['best_fpr_seen']:.3f}"]
        + [f"{100 * row[key]:.2f}" for key in criteria]
        for row in rows
    ]
    heading = [key.replace("fpr_", "FPR ") for key in criteria]
    return markdown_table(["training", "images", "FPR on seen classes of the best threshold", *heading], lines)


def adaptation_table(root: Path, prefix: str) -> str:
    """The grid of scripts/search_adaptation.py."""
    rows = [row for method in METHODS for row in read_table(root / f"studies/{prefix}_{method}.csv")]
    places = sorted({(row["method"], row["shots"]) for row in rows}, key=_by_shots)
    found = {
        ((row["method"], row["shots"]), row["learning_rate"], row["steps"]): (
            f"{100 * row['gain']:+.2f} ± {100 * row['standard_error']:.2f}"
        )
        for row in rows
    }
    lines = [
        [str(rate), str(steps), *(found.get((place, rate, steps), "") for place in places)]
        for rate, steps in dict.fromkeys((row["learning_rate"], row["steps"]) for row in rows)
    ]
    heading = [f"{method}, {shots} image{'' if str(shots) == '1' else 's'}" for method, shots in places]
    return markdown_table(["learning rate", "steps", *heading], lines)


def _by_shots(place: tuple[str, str | int]) -> tuple[str, float]:
    method, shots = place
    return method, float("inf") if shots == "all" else float(shots)


def interval(values: Any, label: str) -> str:
    """Mean, and the half-width of Student's 95 % interval where there is more than one value; in %."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return f"{100 * mean(values.tolist()):.2f}"
    result = confidence(values)
    return f"{100 * result.accuracy:.2f} ±{label} {100 * result.ci95:.2f}"


def bootstrap(figures: list[list[float]]) -> tuple[float, float]:
    """95 % interval of the mean over classes (seeds, classes), by drawing classes with replacement."""
    by_class = np.array(figures, dtype=np.float64).mean(axis=0)
    draws = np.random.default_rng(0).choice(by_class, (BOOTSTRAPS, len(by_class))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    run_stage(main)
