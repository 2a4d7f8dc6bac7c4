"""Trained networks at work on people's own pictures: compare two, enroll classes, name what a picture shows."""

from __future__ import annotations

import contextlib
import os
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import torch
from PIL import Image
from pydantic import Field

from oneshot.common.errors import UserError, printable
from oneshot.common.files import md5, read_json
from oneshot.common.params import Float, Group, StageParams
from oneshot.evaluation.open_set import strict_rate
from oneshot.model.embedding import Tta, embed
from oneshot.model.model_file import About, load_model
from oneshot.recognizer.gallery import Gallery, Match, gallery_pictures
from oneshot.sources.pictures import Picture, Side, read_pictures, whole

MODELS = Path("models")  # in the project's top folder: the pipeline's networks, and Reptile's by configs/large.yaml
NAMES = ("classic", "meta", "large")
UNSEEN = "unseen classes"  # of the data set that a network is of
CALIBRATE = "make it by `oneshot calibrate FOLDER`"
CHUNK = 256  # pictures of 32 x 32 that are decoded and embedded at a time; fewer of larger ones

AnyPicture = TypeVar("AnyPicture", bound=Picture)
Rate = Annotated[Float, Field(ge=0, le=1)]
Cosine = Annotated[Float, Field(ge=-1.01, le=1.01)]  # rounding may lead beyond 1


@dataclass(frozen=True)
class Verdict:
    """Whether two pictures show the same class."""

    same: bool
    similarity: float  # cosine of the two embeddings, -1..1
    threshold: float  # the calibrated cosine from which on pairs are called same
    false_positive_rate: float  # share of pairs of different classes that reach the threshold, 0..1
    share_as_similar: float  # share of such pairs that are at least as similar as this one, 0..1
    classes: str  # that those pairs are of
    finest: float  # the smallest share that so many pairs can tell from none


class Roc(Group):
    """How often pairs reach a threshold: of different classes (fpr), and of the same (tpr)."""

    threshold: Annotated[list[Cosine], Field(min_length=1)]
    fpr: list[Rate]
    tpr: list[Rate]


class Exported(About):
    """What a model file must say of itself to be of use here, as the stage `export` writes it."""

    image_size: Side
    threshold: Cosine
    tta: Tta
    roc: Roc


class OwnThreshold(StageParams):
    """What the file of a threshold of one's own must hold, as `oneshot calibrate` writes it."""

    network: str  # md5 of the model file
    threshold: Cosine
    roc: Roc


class Recognizer:
    """A trained network with its calibrated threshold.

    A picture is a path, a PIL image, or an array of uint8, (H, W), (H, W, 3) or (H, W, 4).

    Args:
        model: `classic`, `meta` or `large`, the networks of this project, or the path of a model file.
        threshold: in place of the calibrated one: a cosine, or the path of a file that `oneshot calibrate` wrote.

    Raises:
        UserError: here and below: a file is missing, or is no such model, gallery or picture; the message names it.
    """

    def __init__(self, model: str | Path = "meta", threshold: float | str | Path | None = None) -> None:
        path = model_path(model)
        self.network, self.about = load_model(path, schema=Exported)
        self.threshold, self.side, self.tta = (self.about[key] for key in ("threshold", "image_size", "tta"))
        self.roc, self.classes = _rising(self.about["roc"], path), UNSEEN  # that its pairs are of
        self.name, self.path = md5(path), path  # which a gallery names its network by
        self.channels = len(self.network.mean.flatten())
        if threshold is not None:
            self._take(threshold)

    def _take(self, threshold: float | str | Path) -> None:
        with contextlib.suppress(ValueError):
            threshold = float(threshold) if not isinstance(threshold, Path) else threshold
        if isinstance(threshold, float):
            if not -1 <= threshold <= 1:
                raise UserError(f"threshold: found {threshold}; must be in -1..1, or a file of `oneshot calibrate`")
            self.threshold = threshold
        else:
            own = read_json(threshold, OwnThreshold, CALIBRATE)
            if own.network != self.name:
                raise UserError(f"{threshold}: of another network; choose that one by --model, or calibrate again")
            self.threshold, self.roc = own.threshold, _rising(own.roc.model_dump(), threshold)
            self.classes = f"classes in {threshold}"

    def embed(self, pictures: Picture | Iterable[Picture]) -> np.ndarray:
        """Unit vectors (N, D) float32 of pictures: one or several; paths, PIL images or arrays of uint8."""
        vectors = [whole(result) for _, result in self.embed_each(_several(pictures))]
        return np.array(vectors, dtype=np.float32).reshape(-1, self.network.dimensions)

    def embed_each(self, pictures: Iterable[AnyPicture]) -> Iterator[tuple[AnyPicture, np.ndarray | UserError]]:
        """Each picture with its unit vector (D,) float32, or with the error that names what is wrong with it."""
        several = list(pictures)
        size = max(1, CHUNK * 32**2 // self.side**2)
        for chunk in (several[first : first + size] for first in range(0, len(several), size)):
            read = list(read_pictures(chunk, self.side, self.channels))
            good = [image for image in read if isinstance(image, np.ndarray)]
            vectors = iter(self._embed(good) if good else [])
            for picture, image in zip(chunk, read, strict=True):
                yield picture, image if isinstance(image, UserError) else next(vectors)

    def verify(self, first: Picture, second: Picture) -> Verdict:
        """Whether two pictures show the same class."""
        return self.compare(*self.embed([first, second]))

    def compare(self, one: np.ndarray, two: np.ndarray) -> Verdict:
        """What `verify` says, of two embeddings (D,)."""
        cosine = float(np.clip(one @ two, -1, 1))
        rates = self.false_positive_rate(self.threshold), self.false_positive_rate(cosine)
        finest = float(self.roc[1][self.roc[1] > 0].min(initial=1))
        return Verdict(cosine >= self.threshold, cosine, self.threshold, *rates, self.classes, finest)

    def false_positive_rate(self, threshold: float) -> float:
        """The share of pairs of different classes whose cosine is at least `threshold`, from the ROC curve."""
        return float(np.interp(threshold, *self.roc[:2]))

    def strict_threshold(self, false_alarms: float, classes: int) -> float:
        """The threshold that a stranger to a gallery of so many classes passes with the chance `false_alarms`, 0..1.

        By `strict_rate`, and the ROC curve of pairs of single pictures: where classes have several, fewer pass.
        """
        if not 0 < false_alarms < 1:
            raise UserError(f"false alarms: found {false_alarms}; must be above 0 and below 1")
        thresholds, rates, _ = self.roc[:, ::-1]
        return float(np.interp(strict_rate(false_alarms, classes), rates, thresholds, left=1.01))

    def enroll(self, classes: str | Path | Mapping[str, Picture | Iterable[Picture]]) -> Gallery:
        """A gallery of classes: the pictures of each by its name, or a folder of them, or of one picture for each."""
        if isinstance(classes, Mapping):
            of_each: dict[str, list[Picture]] = {}
            for name, pictures in classes.items():
                of_each.setdefault(printable(name), []).extend(_several(pictures))
            if not of_each or not all(of_each.values()):
                raise UserError(f"{next((name for name in of_each if not of_each[name]), 'classes')}: has no pictures")
            names, pictures = zip(*((name, one) for name, several in of_each.items() for one in several), strict=True)
        else:
            pictures, names = zip(*gallery_pictures(classes).items(), strict=True)
        return Gallery.of(names, self.embed(pictures), self.name)

    def classify(
        self, pictures: Picture | Iterable[Picture], gallery: Gallery, false_alarms: float | None = None
    ) -> list[Match]:
        """What each picture shows, of the classes in a gallery that the same network made.

        `false_alarms`: in place of the threshold, the chance that a picture of none of them is named, 0..1.
        """
        self.check(gallery)
        strict = None if false_alarms is None else self.strict_threshold(false_alarms, len(gallery.names))
        return gallery.match(self.embed(pictures), self.threshold if strict is None else strict)

    def check(self, gallery: Gallery, name: object = "gallery") -> None:
        """Refuse a gallery that another network made; `name` is for the message."""
        if gallery.network != self.name or gallery.means.shape[1] != self.network.dimensions:
            raise UserError(f"{name}: made with another network; choose that one by --model, or enroll with --new")

    def _embed(self, images: list[np.ndarray]) -> np.ndarray:
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        vectors = embed(self.network, batch, self.tta).numpy()
        if not np.isfinite(vectors).all():
            raise UserError(f"{self.path}: gives no finite numbers for a picture; take another model")
        return vectors


def _several(pictures: Picture | Iterable[Picture]) -> list[Picture]:
    if isinstance(pictures, str | Path | Image.Image) or (isinstance(pictures, np.ndarray) and pictures.ndim < 4):
        return [pictures]
    return list(pictures)


def _rising(roc: Mapping[str, list[float]], path: str | Path) -> np.ndarray:
    """Thresholds, FPR and TPR (3, P) of a ROC curve that stands in a file, by rising threshold."""
    thresholds, *rates = roc["threshold"], roc["fpr"], roc["tpr"]
    for found in rates:
        if len(thresholds) != len(found):
            raise UserError(f"{path}: roc: has {len(found)} rates; must be {len(thresholds)}, one for each threshold")
    return np.array(sorted(zip(thresholds, *rates, strict=True)), dtype=np.float64).T


def model_path(model: str | Path) -> Path:
    """The file of a model: a path as it is, a name in models/ of the current folder, of this project, or installed."""
    if str(model) not in NAMES:
        return Path(model)
    file = MODELS / f"{model}.safetensors"
    schemes = (sysconfig.get_default_scheme(), f"{os.name}_user")  # pip's, for all and for one user
    installed = [Path(sysconfig.get_path("data", scheme), "share/oneshot", file) for scheme in schemes]
    places = [file, Path(__file__).resolve().parents[3] / file, *installed]
    return next((path for path in places if path.exists()), places[0])
