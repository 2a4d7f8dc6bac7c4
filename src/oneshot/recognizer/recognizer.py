"""Trained networks at work on people's own pictures: compare two, enroll classes, name what a picture shows."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from oneshot.common.errors import UserError
from oneshot.common.files import md5
from oneshot.common.params import Float, Group
from oneshot.model.embedding import Tta, embed
from oneshot.model.model_file import About, load_model
from oneshot.recognizer.gallery import Gallery, Match, gallery_pictures
from oneshot.sources.pictures import Side, read_pictures, whole

MODELS = Path("models")  # where the pipeline leaves its networks, in the project's top folder
NAMES = ("classic", "meta")
CHUNK = 256  # pictures of 32 x 32 that are decoded and embedded at a time; fewer of larger ones

Cosine = Annotated[Float, Field(ge=-1.01, le=1.01)]  # rounding may lead beyond 1


@dataclass(frozen=True)
class Verdict:
    """Whether two pictures show the same class."""

    same: bool
    similarity: float  # cosine of the two embeddings, -1..1
    threshold: float  # the calibrated cosine from which on pairs are called same
    false_positive_rate: float  # share of pairs of different unseen classes that reach the threshold, 0..1
    share_as_similar: float  # share of such pairs that are at least as similar as this one, 0..1


class Roc(Group):
    """How often pairs of different unseen classes reach a threshold."""

    threshold: Annotated[list[Cosine], Field(min_length=1)]
    fpr: list[Annotated[Float, Field(ge=0, le=1)]]


class Exported(About):
    """What a model file must say of itself to be of use here, as the stage `export` writes it."""

    image_size: Side
    threshold: Cosine
    tta: Tta
    roc: Roc


class Recognizer:
    """A trained network with its calibrated threshold.

    Args:
        model: `classic` or `meta`, the networks of this project, or the path of a model file.

    Raises:
        UserError: here and below: a file is missing, or is no such model, gallery or picture; the message names it.
    """

    def __init__(self, model: str | Path = "meta") -> None:
        path = model_path(model)
        self.network, self.about = load_model(path, schema=Exported)
        self.threshold, self.side, self.tta = (self.about[key] for key in ("threshold", "image_size", "tta"))
        thresholds, rates = self.about["roc"]["threshold"], self.about["roc"]["fpr"]
        if len(thresholds) != len(rates):
            raise UserError(f"{path}: roc: has {len(rates)} rates; must be {len(thresholds)}, one for each threshold")
        self.roc = np.array(sorted(zip(thresholds, rates, strict=True)), dtype=np.float64).T  # rising in thresholds
        self.name, self.path = md5(path), path  # which a gallery names its network by
        self.channels = len(self.network.mean.flatten())

    def embed(self, pictures: Sequence[str | Path]) -> np.ndarray:
        """Unit vectors (N, D) float32 of pictures, given as paths."""
        vectors = [whole(result) for _, result in self.embed_each(pictures)]
        return np.array(vectors, dtype=np.float32).reshape(-1, self.network.dimensions)

    def embed_each(self, pictures: Iterable[str | Path]) -> Iterator[tuple[Path, np.ndarray | UserError]]:
        """Each picture's path with its unit vector (D,) float32, or with the error that names what is wrong with it."""
        paths = [Path(picture) for picture in pictures]
        size = max(1, CHUNK * 32**2 // self.side**2)
        for chunk in (paths[first : first + size] for first in range(0, len(paths), size)):
            read = list(read_pictures(chunk, self.side, self.channels))
            good = [image for image in read if isinstance(image, np.ndarray)]
            vectors = iter(self._embed(good) if good else [])
            for path, image in zip(chunk, read, strict=True):
                yield path, image if isinstance(image, UserError) else next(vectors)

    def verify(self, first: str | Path, second: str | Path) -> Verdict:
        """Whether two pictures show the same class."""
        return self.compare(*self.embed([first, second]))

    def compare(self, one: np.ndarray, two: np.ndarray) -> Verdict:
        """What `verify` says, of two embeddings (D,)."""
        cosine = float(np.clip(one @ two, -1, 1))
        rates = self.false_positive_rate(self.threshold), self.false_positive_rate(cosine)
        return Verdict(cosine >= self.threshold, cosine, self.threshold, *rates)

    def false_positive_rate(self, threshold: float) -> float:
        """The share of pairs of different unseen classes whose cosine is at least `threshold`, from the ROC curve."""
        return float(np.interp(threshold, *self.roc))

    def enroll(self, folder: str | Path) -> Gallery:
        """A gallery of the classes in `folder`: a folder of pictures for each, or one picture with its name."""
        pictures = gallery_pictures(folder)
        return Gallery.of(list(pictures.values()), self.embed(list(pictures)), self.name)

    def classify(self, pictures: Sequence[str | Path], gallery: Gallery) -> list[Match]:
        """What each picture shows, of the classes in `gallery`, which the same network must have made."""
        self.check(gallery)
        return gallery.match(self.embed(pictures), self.threshold)

    def check(self, gallery: Gallery, name: object = "gallery") -> None:
        """Refuse a gallery that another network made: its numbers mean nothing to this one. `name`: for the message."""
        if gallery.network != self.name or gallery.means.shape[1] != self.network.dimensions:
            raise UserError(f"{name}: made with another network; choose that one by --model, or enroll again")

    def _embed(self, images: list[np.ndarray]) -> np.ndarray:
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        vectors = embed(self.network, batch, self.tta).numpy()
        if not np.isfinite(vectors).all():
            raise UserError(f"{self.path}: gives no finite numbers for a picture; take another model")
        return vectors


def model_path(model: str | Path) -> Path:
    """The file of a model: a path as it is, a name in models/ of the current folder, of this project, or installed."""
    if str(model) not in NAMES:
        return Path(model)
    file = MODELS / f"{model}.safetensors"
    places = [file, Path(__file__).resolve().parents[3] / file, Path(sys.prefix) / "share/oneshot" / file]
    return next((path for path in places if path.exists()), places[0])
