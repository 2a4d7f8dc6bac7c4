"""Does a network that Reptile trained on photographs carry over better to handwriting?

    python regimes/another_world.py OMNIGLOT

Takes the networks of the ten folds (`make folds`) to scikit-learn's digits and to Omniglot's characters: OMNIGLOT is a
folder with a folder of drawings for each. Ten minutes on one core.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
from _episodes import Measured
from _question import FOLDS, ROOT, fold_network, write_answer
from tqdm import tqdm

from oneshot.common.params import load_params
from oneshot.common.stage import Parser, run_stage
from oneshot.evaluation.context import MeasuringStage
from oneshot.model.model_file import load_model
from oneshot.report.comparison import METHODS
from oneshot.sources.datasets import digits
from oneshot.sources.image_folder import read_folder
from oneshot.sources.pictures import read_picture

SIDE = 32  # of the photographs
SHOTS = (5, 1)
EPISODES = 100


def main() -> None:
    parser = Parser(description="Networks of the folds, adapted and tested on handwriting.")
    parser.add_argument("characters", help="a folder with a folder of drawings for each character")
    options = parser.parse_args()
    drawn = read_folder(options.characters, SIDE, seed=0)
    found_digits = digits(Path(), None)
    enlarged = np.stack([read_picture(image[..., 0], SIDE) for image in found_digits.train_images])
    worlds = {
        "digits": (enlarged, by_class(found_digits.train_labels)),
        "characters": (drawn.train_images, by_class(drawn.train_labels)),
    }
    params = load_params(MeasuringStage, ROOT / "params.yaml")
    found: dict[str, dict[str, list[float]]] = {}
    for fold in tqdm(FOLDS, desc="folds"):
        for method in METHODS:
            network, _ = load_model(fold_network(fold, method))
            for world, (images, rows) in worlds.items():
                measured = Measured(params, network, images, rows)
                for shots in SHOTS:
                    for how, accuracy in zip(("frozen", "adapted"), measured.accuracy(shots, EPISODES), strict=True):
                        found.setdefault(f"{world}, {shots}-shot, {how}", {}).setdefault(method, []).append(accuracy)
    both = {m: np.mean([found[f"{w}, {SHOTS[0]}-shot, adapted"][m] for w in worlds], axis=0).tolist() for m in METHODS}
    order = [f"{w}, {k}-shot, {how}" for k, how, w in product(SHOTS, ("adapted", "frozen"), worlds)]
    figures = {f"both worlds, {SHOTS[0]}-shot, adapted": both} | {words: found[words] for words in order}
    pairs = {words: (of["classic"], of["meta"]) for words, of in figures.items()}
    about = {"characters": len(drawn.class_names), "episodes": EPISODES}
    write_answer("another_world", METHODS, [f"fold_{fold}" for fold in FOLDS], pairs, about)


def by_class(labels: np.ndarray) -> list[np.ndarray]:
    """Rows of the images of each class."""
    return [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]


if __name__ == "__main__":
    run_stage(main)
