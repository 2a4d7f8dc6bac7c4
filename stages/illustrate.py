"""Draw what a network does with new classes: `illustrate.py classic` or `illustrate.py meta`."""

import _checkout  # noqa: F401

from pathlib import Path

from oneshot import illustration, plots
from oneshot.files import read_json, write_json, write_table
from oneshot.params import load_params
from oneshot.stage import run_stage
from oneshot.subject import Subject, chosen_method


def main() -> None:
    method = chosen_method()
    model = Path(f"results/trained/{method}/model.pt")
    subject = Subject(load_params(), model, Path("data/dataset"), Path("data/split.json"))
    threshold = read_json(f"results/calibrated/{method}/thresholds.json")["frozen"]["threshold"]

    write_table(f"plots/similarities_{method}.csv", illustration.similarity_histogram(subject))

    places = illustration.embedding_map(subject)
    thumbnails = illustration.images_of(subject, "test", [place["row"] for place in places])
    write_table(f"plots/map_{method}.csv", places)
    plots.thumbnail_map(places, thumbnails, method, Path(f"plots/map_{method}.png"))

    example = illustration.example_episode(subject, threshold)
    supports, queries = (
        illustration.images_of(subject, part, [image["row"] for image in example[kind]])
        for part, kind in (("train", "supports"), ("test", "queries"))
    )
    write_json(f"plots/episode_{method}.json", example)
    plots.episode(example, supports, queries, method, Path(f"plots/episode_{method}.png"))

    hardest = illustration.hardest_triplets(subject)
    rows = [triplet[image] for triplet in hardest for image in ("anchor", "positive", "negative")]
    write_table(f"plots/mistakes_{method}.csv", hardest)
    plots.hardest_triplets(
        hardest, illustration.images_of(subject, "test", rows), method, Path(f"plots/mistakes_{method}.png")
    )


if __name__ == "__main__":
    run_stage(main)
