"""Splits the classes into seen, validation and unseen ones, and their training images by purpose."""

import _checkout  # noqa: F401

from oneshot.common.params import load_params
from oneshot.common.stage import run_stage
from oneshot.data.dataset import load_dataset
from oneshot.data.split import CheckedSplitStage, make_split, save_split


def main() -> None:
    dataset, params = load_dataset("data/dataset"), load_params(CheckedSplitStage)
    split = make_split(dataset, params, max(params.adaptation.shots, default=0))
    save_split("data/split.json", split, dataset)
    for name, count in split.counts().items():
        print(f"{count:7,} {name.replace('_', ' ')}")
    print(f"unseen: {', '.join(dataset.class_names[label] for label in split.unseen)}")


if __name__ == "__main__":
    run_stage(main)
