"""Classic training of the Siamese network on the seen classes."""

import _checkout  # noqa: F401

from pathlib import Path

from oneshot.common.params import load_params
from oneshot.common.stage import run_stage
from oneshot.training.classic import ClassicStage, ClassicTraining
from oneshot.training.loop import train


def main() -> None:
    data, split = Path("data/dataset"), Path("data/split.json")
    train(ClassicTraining, load_params(ClassicStage), data, split, output=Path("results/trained/classic"))


if __name__ == "__main__":
    run_stage(main)
