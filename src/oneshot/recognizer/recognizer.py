"""Trained networks at work on people's own pictures: compare two, enroll classes, name what a picture shows."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from oneshot.common.errors import UserError
from oneshot.common.files import md5
from oneshot.model.embedding import TTA, embed
from oneshot.model.model_file import load_model
from oneshot.recognizer.gallery import Gallery, Match, gallery_pictures
from oneshot.sources.pictures import read_picture

MODELS = Path("models")  # where the pipeline leaves its networks, in the project's top folder
NAMES = ("classic", "meta")
CHUNK = 256  # pictures decoded and embedded at a time


@dataclass(frozen=True)
class Verdict:
    """Whether two pictures show the same class.

    Args:
        similarity: cosine of the two embeddings, -1..1.
        threshold: the calibrated cosine from which on pairs are called same.
        false_positive_rate: share of pairs of different unseen classes that reach the threshold, 0..1.
        share_as_similar: share of such pairs that are at least as similar as this one, 0..1.
    """

    same: bool
    similarity: float
    threshold: float
    false_positive_rate: float
    share_as_similar: float


class Recognizer:
    """A trained network with its calibrated threshold.

    Args:
        model: `classic` or `meta`, the networks of this project, or the path of a model file.

    Raises:
        UserError: the file is missing or is no model of this project.
    """

    def __init__(self, model: str | Path = "meta") -> None:
        path = model_path(model)
        self.network, self.about = load_model(path)
        try:
            self.threshold, self.side = float(self.about["threshold"]), int(self.about["image_size"])
            self.tta = str(self.about["tta"])
            if self.tta not in TTA:
                raise ValueError(f"tta {self.tta!r}")
            points = zip(self.about["roc"]["threshold"], self.about["roc"]["fpr"], strict=True)
            self.roc = np.array(sorted(points), dtype=np.float64).T  # thresholds and their rates, rising in thresholds
            self.calibrated_rate = self.false_positive_rate(self.threshold)
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            raise UserError(
                f"{path}: lacks what `oneshot` needs ({type(error).__name__}: {error}); "
                "take a file from models/, which `dvc repro` writes there"
            ) from None
        self.name = md5(path)
        self.channels = len(self.network.mean.flatten())

    def embed(self, pictures: Sequence[str | Path]) -> np.ndarray:
        """Unit vectors (N, D) float32 of pictures, given as paths.

        Raises:
            UserError: one of them cannot be read; the message names it.
        """
        vectors = []
        for _, result in self.embed_each(pictures):
            if isinstance(result, UserError):
                raise result
            vectors.append(result)
        return np.array(vectors, dtype=np.float32).reshape(-1, self.network.dimensions)

    def embed_each(self, pictures: Iterable[str | Path]) -> Iterator[tuple[Path, np.ndarray | UserError]]:
        """Each picture's path with its unit vector (D,) float32, or with the error that names what is wrong with it."""
        paths = [Path(picture) for picture in pictures]
        with ThreadPoolExecutor() as pool:
            for first in range(0, len(paths), CHUNK):
                chunk = paths[first : first + CHUNK]
                read = list(pool.map(self._read, chunk))
                good = [image for image in read if isinstance(image, np.ndarray)]
                vectors = iter(self._embed(good) if good else [])
                for path, image in zip(chunk, read, strict=True):
                    yield path, image if isinstance(image, UserError) else next(vectors)

    def verify(self, first: str | Path, second: str | Path) -> Verdict:
        """Whether two pictures show the same class.

        Raises:
            UserError: one of them cannot be read.
        """
        one, two = self.embed([first, second])
        cosine = float(np.clip(one @ two, -1, 1))
        as_similar = self.false_positive_rate(cosine)
        return Verdict(cosine >= self.threshold, cosine, self.threshold, self.calibrated_rate, as_similar)

    def false_positive_rate(self, threshold: float) -> float:
        """The share of pairs of different unseen classes whose cosine is at least `threshold`, from the ROC curve."""
        return float(np.interp(threshold, *self.roc))

    def enroll(self, folder: str | Path) -> Gallery:
        """A gallery of the classes in `folder`: one folder of pictures for each, or single pictures named as the class.

        Raises:
            UserError: there are no pictures, or one of them cannot be read.
        """
        pictures = gallery_pictures(folder)
        return self.gallery(list(pictures.values()), self.embed(list(pictures)))

    def gallery(self, classes: Sequence[str], vectors: np.ndarray) -> Gallery:
        """A gallery of pictures that are embedded already: their classes, N names, and their vectors (N, D)."""
        return Gallery.of(classes, vectors, self.name)

    def classify(self, pictures: Sequence[str | Path], gallery: Gallery) -> list[Match]:
        """What each picture shows, of the classes in `gallery`.

        Raises:
            UserError: a picture cannot be read, or the gallery was made with another network.
        """
        return self.matches(self.embed(pictures), gallery)

    def matches(self, vectors: np.ndarray, gallery: Gallery) -> list[Match]:
        """What each of the embeddings (N, D) is most like.

        Raises:
            UserError: the gallery was made with another network.
        """
        self.check(gallery)
        return gallery.match(vectors, self.threshold)

    def check(self, gallery: Gallery, name: object = "gallery") -> None:
        """Refuse a gallery that another network made: its numbers mean nothing to this one. `name`: for the message.

        Raises:
            UserError: it is such a gallery.
        """
        if gallery.network != self.name:
            raise UserError(f"{name}: made with another network; choose that one by --model, or enroll again")

    def _read(self, path: Path) -> np.ndarray | UserError:
        try:
            return read_picture(path, self.side, self.channels)
        except UserError as error:
            return error

    def _embed(self, images: list[np.ndarray]) -> np.ndarray:
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        return embed(self.network, batch, self.tta).numpy()


def model_path(model: str | Path) -> Path:
    """The file of a model: a path as it is, a name in models/ of the current folder, of this project, or installed."""
    if str(model) not in NAMES:
        return Path(model)
    file = MODELS / f"{model}.safetensors"
    places = [file, Path(__file__).resolve().parents[3] / file, Path(sys.prefix) / "share/oneshot" / file]
    return next((path for path in places if path.exists()), places[0])
