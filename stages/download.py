"""Gets the data set and writes it to data/dataset, the same bytes whatever the source."""

import _checkout  # noqa: F401

import os

from oneshot.dataset import save_dataset
from oneshot.download import SOURCE, fetch_dataset
from oneshot.folder import read_folder
from oneshot.params import load_params
from oneshot.stage import run_stage


def main() -> None:
    params = load_params()
    if params.dataset == "folder":
        dataset = read_folder(params.data_folder, params.image_size, params.folder_test_share, params.seed)
    else:
        dataset = fetch_dataset(params.dataset, raw="data/raw", source=os.environ.get(SOURCE))
    save_dataset("data/dataset", dataset)
    train, test, classes = len(dataset.train_images), len(dataset.test_images), len(dataset.class_names)
    print(f"{params.dataset}: {train} training and {test} test images of {classes} classes")


if __name__ == "__main__":
    run_stage(main)
