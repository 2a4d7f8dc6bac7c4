"""Gets the data set and writes it to data/dataset, the same bytes whatever the source."""

import _checkout  # noqa: F401

import os

from oneshot.common.params import load_params
from oneshot.common.stage import run_stage
from oneshot.data.dataset import save_dataset
from oneshot.sources.datasets import DownloadStage, get_dataset
from oneshot.sources.fetch import SOURCE


def main() -> None:
    params = load_params(DownloadStage)
    dataset = get_dataset(params, raw="data/raw", source=os.environ.get(SOURCE))
    save_dataset("data/dataset", dataset)
    train, test, classes = len(dataset.train_images), len(dataset.test_images), len(dataset.class_names)
    print(f"{params.dataset}: {train} training and {test} test images of {classes} classes")


if __name__ == "__main__":
    run_stage(main)
