"""The embeddings of all images by a trained network, computed once for all that measures it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from oneshot.common.files import unfinished
from oneshot.common.params import Group, StageParams
from oneshot.data.dataset import load_dataset
from oneshot.data.images import ImageStore
from oneshot.data.split import load_split
from oneshot.hardware.device import HardwareParams, keep_freed_memory, set_up
from oneshot.model.embedding import Tta, embed
from oneshot.model.model_file import load_model

_CHUNK = 1000  # images taken from the data set at a time


class EvaluationParams(Group):
    """The group `evaluation`."""

    unseen: bool
    tta: Tta

    def mistakes(self, params: Any) -> Iterator[tuple[str, str]]:
        """See `Group`."""
        if not self.unseen and not params.split.validation_classes:
            yield "unseen", "must be true where split.validation_classes is 0: nothing else is measured"


class EmbeddingStage(StageParams):
    """What the stage `embed` reads."""

    evaluation: EvaluationParams
    hardware: HardwareParams


def chosen_method() -> str:
    """The training that the command line names, `classic` or `meta`; argparse explains anything else."""
    parser = argparse.ArgumentParser()
    parser.add_argument("method", choices=("classic", "meta"))
    return str(parser.parse_args().method)


def embed_all(params: EmbeddingStage, model: Path, data: Path, split_file: Path, output: Path) -> None:
    """Write unit vectors (N, D) of float32 to `output`/train.npy and test.npy, one for each image of the data set.

    Images that the network was trained on are many, and serve adaptation alone: of these, no other views are taken.
    """
    compute = set_up(params.hardware)
    keep_freed_memory()
    network, _ = load_model(model, compute.device)
    dataset, split = load_dataset(data), load_split(split_file)
    trained_on = np.concatenate([split.training[label] for label in split.seen])
    for part, images in (("train", dataset.train_images), ("test", dataset.test_images)):
        store, path = ImageStore(images, compute.device), output / f"{part}.npy"
        chunks = np.split(np.arange(len(images)), range(_CHUNK, len(images), _CHUNK))
        # Written in order, not through a map: a full disk would kill the program there, without a word.
        with unfinished(path) as work, open(work, "wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (len(images), network.dimensions)}
            np.lib.format.write_array_header_1_0(file, header)
            for rows in tqdm(chunks, desc=f"{part} images", unit="thousand", mininterval=1):
                once = np.isin(rows, trained_on) & (part == "train")
                vectors = np.empty((len(rows), network.dimensions), dtype="<f4")
                for which, tta in ((once, "none"), (~once, params.evaluation.tta)):
                    if which.any():
                        with compute.forward_precision():
                            vectors[which] = embed(network, store.batch(rows[which]), tta).numpy()
                file.write(vectors.tobytes())
