"""Write what was found of a network into files that Git keeps: `report.py classic` or `report.py meta`."""

import _checkout  # noqa: F401

from pathlib import Path

from oneshot.common.files import read_json, read_table, write_json, write_table
from oneshot.common.stage import run_stage
from oneshot.evaluation.context import Context
from oneshot.evaluation.embedded import chosen_method
from oneshot.report import illustration, plots


def main() -> None:
    method = chosen_method()
    trained, evaluated = Path(f"results/trained/{method}"), Path(f"results/evaluated/{method}")
    output = Path(f"plots/{method}")
    details = read_json(evaluated / "details.json")
    write_json(f"metrics/details/{method}.json", details | {"record": read_json(trained / "record.json")})
    write_table(output / "training.csv", read_table(trained / "curve.tsv"))
    for name in ("classes", "roc"):
        write_table(output / f"{name}.csv", read_table(evaluated / f"{name}.csv"))

    context = Context.of(method)
    train, test = context.dataset.train_images, context.dataset.test_images
    write_table(output / "similarities.csv", illustration.similarity_histogram(context))
    places = illustration.embedding_map(context)
    write_table(output / "map.csv", places)
    plots.thumbnail_map(places, test[[place["row"] for place in places]], method, output / "map.png")

    example = illustration.example_episode(context, details["threshold"])
    supports = train[[image["row"] for image in example["supports"]]]
    queries = test[[image["row"] for image in example["queries"]]]
    write_json(output / "episode.json", example)
    plots.episode(example, supports, queries, method, output / "episode.png")

    hardest = illustration.hardest_triplets(context)
    rows = [triplet[image] for triplet in hardest for image in ("anchor", "positive", "negative")]
    write_table(output / "mistakes.csv", hardest)
    plots.hardest_triplets(hardest, test[rows], method, output / "mistakes.png")


if __name__ == "__main__":
    run_stage(main)
