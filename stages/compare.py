"""Lay classic beside meta: metrics files with the same keys, their difference, tables and pictures."""

import _checkout  # noqa: F401

from pathlib import Path

from oneshot import plots
from oneshot.comparison import METHODS, difference, headline_table, over_shots, side_by_side
from oneshot.files import read_json, read_table, write_json, write_table
from oneshot.params import load_params
from oneshot.stage import run_stage


def main() -> None:
    evaluated = {method: Path(f"results/evaluated/{method}") for method in METHODS}
    metrics = {method: read_json(folder / "metrics.json") for method, folder in evaluated.items()}
    for method, figures in metrics.items():
        write_json(f"metrics/{method}.json", figures)
    write_json("metrics/evaluation.json", metrics[load_params().training])
    write_json("metrics/comparison.json", difference(metrics["meta"], metrics["classic"]))

    roc = {method: read_table(folder / "roc.csv") for method, folder in evaluated.items()}
    curves = {method: read_table(f"results/trained/{method}/curve.tsv") for method in METHODS}
    classes = side_by_side(*(read_table(folder / "novel_classes.csv") for folder in evaluated.values()))
    for method in METHODS:
        write_table(f"plots/roc_{method}.csv", roc[method])
        write_table(f"plots/training_{method}.csv", curves[method])
        write_json(f"plots/record_{method}.json", read_json(f"results/trained/{method}/record.json"))
    write_table("plots/novel_classes.csv", classes)
    write_table("plots/shots.csv", shots := over_shots(metrics))

    plots.roc(roc, Path("plots/roc.svg"))
    plots.class_bars(classes, Path("plots/novel_classes.svg"))
    plots.training_curves(curves, Path("plots/training.svg"))
    similarities = {method: read_table(f"plots/similarities_{method}.csv") for method in METHODS}
    thresholds = {method: figures["threshold"] for method, figures in metrics.items()}
    plots.similarity_histograms(similarities, thresholds, Path("plots/similarities.svg"))
    plots.accuracy_over_shots(shots, Path("plots/shots.svg"))
    print(headline_table(metrics["classic"], metrics["meta"]))


if __name__ == "__main__":
    run_stage(main)
