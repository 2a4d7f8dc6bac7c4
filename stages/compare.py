"""Lay classic beside meta, from committed files alone: figures in front, their difference, tables and pictures."""

import _checkout  # noqa: F401

from pathlib import Path

from oneshot.common.files import read_json, read_table, write_json, write_table
from oneshot.common.params import load_params
from oneshot.common.stage import run_stage
from oneshot.report import plots
from oneshot.report.comparison import (
    METHODS,
    CompareStage,
    difference,
    headline_table,
    headlines,
    held_out,
    over_classes,
    over_shots,
    side_by_side,
)


def main() -> None:
    output = Path("plots/comparison")
    details = {method: read_json(f"metrics/details/{method}.json") for method in METHODS}
    tables = {
        name: {method: read_table(f"plots/{method}/{name}.csv") for method in METHODS}
        for name in ("classes", "roc", "similarities", "training")
    }
    metrics = {method: headlines(figures) for method, figures in details.items()}
    classes, shots = side_by_side(**tables["classes"]), over_shots(details)
    paired = over_classes(classes)
    for method, figures in metrics.items():
        write_json(f"metrics/{method}.json", figures)
    write_json("metrics/evaluation.json", metrics[load_params(CompareStage).training])
    write_json("metrics/comparison.json", difference(**metrics))
    write_json("metrics/details/comparison.json", paired)
    write_table(output / "classes.csv", classes)
    write_table(output / "shots.csv", shots)

    areas = {method: figures[held_out(figures)]["roc_auc"] for method, figures in details.items()}
    plots.roc(tables["roc"], areas, output / "roc.svg")
    plots.class_accuracies(classes, paired["triplet_accuracy"], output / "classes.svg")
    plots.training_curves(tables["training"], output / "training.svg")
    thresholds = {method: figures["threshold"] for method, figures in metrics.items()}
    plots.similarity_histograms(tables["similarities"], thresholds, output / "similarities.svg")
    plots.accuracy_over_shots(shots, output / "shots.svg")
    plots.open_set(
        {m: figures[held_out(figures)]["open_set"] for m, figures in details.items()}, output / "open_set.svg"
    )
    print(headline_table(metrics, held_out(details["meta"])))


if __name__ == "__main__":
    run_stage(main)
