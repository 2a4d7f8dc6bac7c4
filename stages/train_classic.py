"""Classic training of the Siamese network on the seen classes."""

import _checkout  # noqa: F401

from pathlib import Path

from oneshot.classic import ClassicTraining
from oneshot.params import load_params
from oneshot.stage import run_stage
from oneshot.training import train


def main() -> None:
    data, split = Path("data/dataset"), Path("data/split.json")
    train(ClassicTraining, load_params(), data, split, output=Path("results/trained/classic"))


if __name__ == "__main__":
    run_stage(main)
