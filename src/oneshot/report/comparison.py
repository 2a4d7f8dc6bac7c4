"""Classic beside meta: the figures in front, their differences, and the two runs' tables in one."""

from __future__ import annotations

from typing import Any, Literal

from oneshot.common.params import StageParams
from oneshot.evaluation.episodes import HEADLINE_SHOTS, estimate, shot_name

METHODS = ("classic", "meta")
Rows = list[dict[str, Any]]

# The figures in front, in metrics/*.json: where each stands in metrics/details/, and words for it. {held_out}: the
# unseen classes, or the validation classes where nothing is measured on the unseen ones.
HEADLINES = {
    "triplet": ("{held_out}.triplet_accuracy", "triplet accuracy, {held_out} classes"),
    "binary": ("{held_out}.binary_accuracy", "binary accuracy, calibrated threshold"),
    "binary_best": ("{held_out}.binary_accuracy_best", "binary accuracy, best threshold"),
    "one_shot": ("{held_out}.one_shot.accuracy", "one-shot accuracy, all {held_out} classes"),
    "five_shot": ("{held_out}.five_shot.accuracy", "five-shot accuracy, all {held_out} classes"),
    "adapted_1": ("adapted_1.{held_out}.triplet_accuracy", "triplet accuracy, adapted on 1 image"),
    "adapted_5": ("adapted_5.{held_out}.triplet_accuracy", "triplet accuracy, adapted on 5 images"),
    "adapted_all": ("adapted_all.{held_out}.triplet_accuracy", "triplet accuracy, adapted on all images"),
    "seen_triplet": ("seen.triplet_accuracy", "triplet accuracy, seen classes"),
    "reference_binary": ("{held_out}_reference.binary_accuracy", "binary accuracy, negatives seen"),
    "threshold": ("threshold", "calibrated threshold, a cosine"),
}


class CompareStage(StageParams):
    """What the stage `compare` reads: whose figures metrics/evaluation.json repeats."""

    training: Literal["classic", "meta"]


def held_out(details: dict[str, Any]) -> str:
    """The group of classes that the headlines are of."""
    return "unseen" if "unseen" in details else "validation"


def headlines(details: dict[str, Any]) -> dict[str, float]:
    """The figures in front, of nested details; those of adapted networks only where any was measured."""
    values, group = flat(details), held_out(details)
    paths = {key: path.format(held_out=group) for key, (path, _) in HEADLINES.items()}
    return {key: values[path] for key, path in paths.items() if path in values}


def difference(classic: dict[str, float], meta: dict[str, float]) -> dict[str, float]:
    """Meta minus classic of each headline, rounded to 6 digits."""
    return {key: round(value - classic[key], 6) for key, value in meta.items()}


def over_classes(classes: Rows) -> dict[str, dict[str, float]]:
    """Meta minus classic, paired by held-out class: mean and 95 % interval (Student's) of what other classes may show.

    What another seed may show stands in the record of experiments.

    Args:
        classes: rows of `side_by_side`.
    """
    found = {}
    for key in ("triplet_accuracy", "binary_accuracy"):
        paired = estimate([row[f"meta_{key}"] - row[f"classic_{key}"] for row in classes])
        found[key] = {"difference": paired.mean, "ci95": paired.ci95}
    return found


def side_by_side(classic: Rows, meta: Rows) -> Rows:
    """One table of two with the same classes in the same order: `class`, `classic_...`, `meta_...`."""
    return [
        {"class": ours["class"]}
        | {f"classic_{key}": value for key, value in ours.items() if key != "class"}
        | {f"meta_{key}": value for key, value in theirs.items() if key != "class"}
        for ours, theirs in zip(classic, meta, strict=True)
    ]


def over_shots(details: dict[str, dict[str, Any]]) -> Rows:
    """Accuracies on held-out classes over the number of support images, both trainings beside each other.

    Args:
        details: those of each training, nested.

    Returns:
        Rows of shots (0: all of a class) and, for each training, frozen and adapted few-shot and triplet accuracy and
        the gain in the latter. `_ci95`: over draws of supports, and for the gain over classes. Empty text where
        nothing was measured.
    """
    names = [name.removeprefix("adapted_") for name in details[METHODS[0]] if name.startswith("adapted_")]
    numbers = sorted({*HEADLINE_SHOTS, *(int(name) for name in names if name.isdecimal())})
    rows = []
    for shots in [*numbers, *(["all"] if "all" in names else [])]:
        row: dict[str, Any] = {"shots": 0 if shots == "all" else shots}
        for method, figures in details.items():
            group = held_out(figures)
            adapted = figures.get(f"adapted_{shots}", {}).get(group, {})
            for state, home in (("frozen", figures[group]), ("adapted", adapted)):
                few_shot = home.get(shot_name(int(row["shots"])), {})
                row[f"{method}_{state}_few_shot"] = few_shot.get("accuracy", "")
                row[f"{method}_{state}_few_shot_ci95"] = few_shot.get("ci95", "")
                row[f"{method}_{state}_triplet"] = home.get("triplet_accuracy", "")
            row |= {f"{method}_{key}": adapted.get(key, "") for key in ("gain", "gain_ci95")}
        rows.append(row)
    return rows


def flat(details: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested figures by dotted name."""
    values: dict[str, Any] = {}
    for key, value in details.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return values


def meaning(key: str, group: str = "unseen") -> str:
    """Words for a headline, of the held-out classes `group`: unseen or validation."""
    return HEADLINES[key][1].format(held_out=group)


def headline_table(metrics: dict[str, dict[str, float]], group: str) -> str:
    """The figures in front of each training, as a text table: accuracies in percent, the threshold as a cosine."""
    rows = [f"{'':42}{'classic':>9}{'meta':>9}{'meta - classic':>16}"]
    for key in metrics["classic"]:
        scale, unit = (1, " ") if key == "threshold" else (100, "%")
        a, b = (scale * metrics[method][key] for method in METHODS)
        rows.append(f"{meaning(key, group):42}{a:8.2f}{unit}{b:8.2f}{unit}{b - a:+15.2f} ")
    return "\n".join(rows)
