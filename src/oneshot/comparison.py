"""Classic beside meta: differences of metrics, and the two runs' tables in one."""

from __future__ import annotations

from typing import Any

METHODS = ("classic", "meta")

# What a person looks at first: key in the metrics, words for it.
HEADLINES = {
    "unseen.triplet_accuracy": "triplet accuracy, unseen classes",
    "unseen.binary_accuracy": "binary accuracy at the calibrated threshold",
    "unseen.binary_accuracy_best": "binary accuracy at the best threshold",
    "one_shot.accuracy": "one-shot accuracy, all unseen classes",
    "five_shot.accuracy": "five-shot accuracy, all unseen classes",
    "adapted_all.unseen_reference.triplet_accuracy": "triplet accuracy, adapted, negatives seen",
    "adapted_all.unseen_reference.binary_accuracy": "binary accuracy, adapted, negatives seen",
    "seen.triplet_accuracy": "triplet accuracy, seen classes",
    "seen.binary_accuracy": "binary accuracy, seen classes",
}


def difference(meta: Any, classic: Any) -> Any:
    """Meta minus classic for nested metrics with the same keys, rounded to 6 digits."""
    if isinstance(meta, dict):
        return {key: difference(value, classic[key]) for key, value in meta.items()}
    return round(meta - classic, 6)


def side_by_side(classic: list[dict[str, Any]], meta: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One table of two with the same classes in the same order: `class`, `classic_...`, `meta_...`."""
    rows = []
    for ours, theirs in zip(classic, meta, strict=True):
        row = {"class": ours["class"]}
        for method, figures in zip(METHODS, (ours, theirs), strict=True):
            row |= {f"{method}_{key}": value for key, value in figures.items() if key != "class"}
        rows.append(row)
    return rows


def over_shots(metrics: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Accuracies of new classes over the number of support images, as a plot's table, both trainings beside each other.

    Args:
        metrics: those of each training, nested.

    Returns:
        Rows of shots (0: all of a class) and, for each training, frozen and adapted few-shot and triplet accuracy;
        empty where there is none.
    """
    adapted = {name.removeprefix("adapted_"): name for name in metrics[METHODS[0]] if name.startswith("adapted_")}
    rows = []
    for shots in sorted(int(name) for name in adapted if name.isdecimal()):
        rows.append({"shots": shots} | _at_shots(metrics, adapted[str(shots)], shot_name(shots)))
    if "all" in adapted:
        rows.append({"shots": 0} | _at_shots(metrics, adapted["all"], ""))
    return rows


def _at_shots(metrics: dict[str, dict[str, Any]], adapted: str, few_shot: str) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for method in METHODS:
        figures = metrics[method]
        group = "unseen" if "unseen" in figures else "validation"
        for state, home in (("frozen", figures), ("adapted", figures[adapted])):
            episodes = home if group == "unseen" else home[group]
            accuracy = episodes.get(few_shot, {}).get("accuracy", "")
            row |= {
                f"{method}_{state}_few_shot": accuracy,
                f"{method}_{state}_triplet": home[group]["triplet_accuracy"],
            }
    return row


def shot_name(shots: int) -> str:
    """What metrics call N-way K-shot classification with `shots` supports of each class."""
    return {1: "one_shot", 5: "five_shot"}.get(shots, f"{shots}_shot")


def flat(metrics: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested metrics by dotted key, as `dvc metrics show` names them."""
    values: dict[str, float] = {}
    for key, value in metrics.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return values


def headline_table(classic: dict[str, Any], meta: dict[str, Any]) -> str:
    """The figures that a person looks at first, as a text table in percent."""
    left, right = flat(classic), flat(meta)
    rows = [f"{'':50}{'classic':>9}{'meta':>9}{'meta - classic':>16}"]
    for key, words in HEADLINES.items():
        if key in left:
            a, b = 100 * left[key], 100 * right[key]
            rows.append(f"{words:50}{a:8.2f}%{b:8.2f}%{b - a:+15.2f} ")
    return "\n".join(rows)
