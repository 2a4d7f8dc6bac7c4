"""Splits the classes into seen, validation and unseen ones, and their training images by purpose."""

import _checkout  # noqa: F401

from oneshot.dataset import load_dataset
from oneshot.params import load_params
from oneshot.split import make_split, save_split
from oneshot.stage import run_stage


def main() -> None:
    params = load_params()
    dataset = load_dataset("data/dataset")
    split = make_split(dataset, params)
    save_split("data/split.json", split, dataset)
    unseen = ", ".join(dataset.class_names[label] for label in split.unseen)
    for name, count in split.counts().items():
        print(f"{count:7,} {name.replace('_', ' ')}")
    print(f"unseen: {unseen}")


if __name__ == "__main__":
    run_stage(main)
