"""Trained networks at work on people's own pictures: compare two, enroll classes, name what a picture shows."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from oneshot.errors import UserError
from oneshot.files import md5, write_bytes
from oneshot.network import embed, load_model
from oneshot.pictures import find_pictures, read_picture

MODELS = Path("models")  # where the pipeline leaves its networks, in the project's top folder
NAMES = ("classic", "meta")
CHUNK = 256  # pictures decoded and embedded at a time
GALLERY_BYTES = 2**28  # the largest file that is read as a gallery


@dataclass(frozen=True)
class Verdict:
    """Whether two pictures show the same class.

    Args:
        similarity: cosine of the two embeddings, -1..1.
        threshold: the calibrated cosine from which on pairs are called same.
        false_positive_rate: share of pairs of different new classes that reach the threshold, 0..1.
        share_as_similar: share of such pairs that are at least as similar as this one, 0..1.
    """

    same: bool
    similarity: float
    threshold: float
    false_positive_rate: float
    share_as_similar: float


@dataclass(frozen=True)
class Match:
    """The class whose prototype is nearest: its name, None below the threshold, the score, and its name in any case.

    The score is the mean cosine between the picture and the class's enrolled pictures, -1..1.
    """

    name: str | None
    score: float
    nearest: str


@dataclass(frozen=True)
class Gallery:
    """Enrolled classes: `means` (N, D) float32 of the embeddings of each one's pictures, `counts` (N,) of them, and
    the md5 of the network that embedded them."""

    names: list[str]
    means: np.ndarray
    counts: np.ndarray
    network: str

    def save(self, path: str | Path) -> None:
        """Write the gallery: a few numbers a class, the same bytes for the same classes."""
        buffer = io.BytesIO()
        names = np.array(self.names, dtype=np.str_)
        network = np.array(self.network, dtype=np.str_)
        np.savez_compressed(buffer, names=names, means=self.means, counts=self.counts, network=network)
        write_bytes(path, buffer.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> Gallery:
        """Read what `save` wrote; nothing in the file is run.

        Raises:
            UserError: the file is missing or is no gallery.
        """
        try:
            if Path(path).stat().st_size > GALLERY_BYTES:
                raise ValueError("too large")
            with np.load(path, allow_pickle=False) as file:
                names, means, counts = file["names"], file["means"], file["counts"]
                network = str(file["network"])
            if means.dtype != np.float32 or means.ndim != 2 or names.ndim != 1 or counts.shape != names.shape:
                raise ValueError("odd arrays")
            if names.dtype.kind != "U" or not len(names) or len(means) != len(names) or not np.isfinite(means).all():
                raise ValueError("odd arrays")
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; make it with `oneshot enroll FOLDER --gallery {path}`") from None
        except Exception as error:  # zipfile, zlib and numpy raise many kinds for a broken file
            raise UserError(f"{path}: not a gallery of this project ({type(error).__name__}); enroll again") from None
        return cls(names.tolist(), means, counts, network)


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
            self.threshold = float(self.about["threshold"])
            self.side, self.views = int(self.about["image_size"]), int(self.about["views"])
            thresholds, rates = (np.array(self.about["roc"][key], dtype=np.float64) for key in ("threshold", "fpr"))
            order = np.argsort(thresholds)
            self.roc = thresholds[order], rates[order]
        except (KeyError, TypeError, ValueError, IndexError) as error:
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
        return np.stack(vectors) if vectors else np.zeros((0, self.network.dimensions), dtype=np.float32)

    def embed_each(self, pictures: Iterable[str | Path]) -> Iterator[tuple[Path, np.ndarray | UserError]]:
        """Each picture's path with its unit vector (D,) float32, or with the error that names what is wrong with it."""
        paths = [Path(picture) for picture in pictures]
        with ThreadPoolExecutor() as pool:
            for first in range(0, len(paths), CHUNK):
                chunk = paths[first : first + CHUNK]
                read = list(pool.map(self._read, chunk))
                good = [image for image in read if isinstance(image, np.ndarray)]
                vectors = iter(self._embed(np.stack(good)) if good else [])
                for path, image in zip(chunk, read, strict=True):
                    yield path, image if isinstance(image, UserError) else next(vectors)

    def verify(self, first: str | Path, second: str | Path) -> Verdict:
        """Whether two pictures show the same class."""
        one, two = self.embed([first, second])
        return self.verdict(float(np.clip(one @ two, -1, 1)))

    def verdict(self, similarity: float) -> Verdict:
        """What a cosine means."""
        same = similarity >= self.threshold
        rate, as_similar = (self.false_positive_rate(cosine) for cosine in (self.threshold, similarity))
        return Verdict(same, similarity, self.threshold, rate, as_similar)

    def false_positive_rate(self, threshold: float) -> float:
        """The share of pairs of different new classes with a cosine of at least `threshold`, from the ROC curve."""
        return float(np.interp(threshold, *self.roc))

    def enroll(self, folder: str | Path) -> Gallery:
        """A gallery of the classes in `folder`: one folder of pictures for each, or single pictures named as the class.

        Raises:
            UserError: there are no pictures, or one of them cannot be read.
        """
        classes = gallery_pictures(folder)
        vectors = self.embed([path for paths in classes.values() for path in paths])
        parts = np.split(vectors, np.cumsum([len(paths) for paths in classes.values()])[:-1])
        return self.gallery(dict(zip(classes, parts, strict=True)))

    def gallery(self, vectors: dict[str, np.ndarray]) -> Gallery:
        """A gallery of classes given as name -> embeddings (K, D) of their pictures."""
        means = np.stack([part.mean(axis=0) for part in vectors.values()])
        counts = np.array([len(part) for part in vectors.values()])
        return Gallery(list(vectors), means, counts, self.name)

    def classify(self, pictures: Sequence[str | Path], gallery: Gallery) -> list[Match]:
        """What each picture shows, of the classes in `gallery`.

        Raises:
            UserError: a picture cannot be read, or the gallery was made with another network.
        """
        return self.matches(self.embed(pictures), gallery)

    def matches(self, vectors: np.ndarray, gallery: Gallery) -> list[Match]:
        """What each of the embeddings (N, D) is most like."""
        self.check(gallery)
        # Ranked by prototypes, as evaluation does; means of few pictures are longer, and would win too often. The mean
        # cosine is what compares with a threshold of pairs.
        prototypes = gallery.means / np.maximum(np.linalg.norm(gallery.means, axis=1, keepdims=True), 1e-12)
        found = []
        for place, scores in zip((vectors @ prototypes.T).argmax(axis=1), vectors @ gallery.means.T, strict=True):
            nearest, score = gallery.names[int(place)], float(scores[place])
            found.append(Match(nearest if score >= self.threshold else None, score, nearest))
        return found

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

    def _embed(self, images: np.ndarray) -> np.ndarray:
        tensor = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        return embed(self.network, tensor, self.views).numpy()


def model_path(model: str | Path) -> Path:
    """The file of a model: a path as it is, a name in models/ of the current folder or of this project."""
    if str(model) not in NAMES:
        return Path(model)
    places = [MODELS / f"{model}.pt", Path(__file__).resolve().parents[2] / MODELS / f"{model}.pt"]
    return next((path for path in places if path.exists()), places[0])


def gallery_pictures(folder: str | Path) -> dict[str, list[Path]]:
    """Name of each class in `folder` and its pictures: of the folders in it, or of the single pictures in it.

    Raises:
        UserError: no such folder, or no pictures.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; it must hold a folder of pictures for each class")
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    classes = {path.name: find_pictures(path) for path in inside}
    if not classes:
        for path in find_pictures(folder):
            classes.setdefault(path.stem, []).append(path)
    empty = [name for name, paths in classes.items() if not paths]
    if empty or not classes:
        raise UserError(f"{folder / empty[0] if empty else folder}: holds no pictures")
    return classes


def about_model(trained: dict[str, Any], threshold: float, roc: list[dict[str, float]], views: int) -> dict[str, Any]:
    """What a model file says of itself, so that it can be used without the pipeline.

    Args:
        trained: what training wrote into its file.
        roc: rows with `threshold` and `fpr`, on pairs of classes that training never saw.
        views: of a picture, the mean of whose embeddings the threshold is for.
    """
    rows = [row for row in roc if np.isfinite(row["threshold"])]
    points = {key: [float(row[key]) for row in rows] for key in ("threshold", "fpr")}
    return trained | {"threshold": threshold, "roc": points, "views": views}
