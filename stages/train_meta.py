"""Reptile meta-training of the Siamese network on tasks of seen classes."""

import _checkout  # noqa: F401

from pathlib import Path

from oneshot.common.params import load_params
from oneshot.common.stage import run_stage
from oneshot.training.loop import train
from oneshot.training.reptile import ReptileStage, ReptileTraining


def main() -> None:
    data, split = Path("data/dataset"), Path("data/split.json")
    train(ReptileTraining, load_params(ReptileStage), data, split, output=Path("results/trained/meta"))


if __name__ == "__main__":
    run_stage(main)
