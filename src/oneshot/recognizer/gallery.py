"""Galleries: enrolled classes as a few numbers each, in a file of their own; what a picture is most like of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from oneshot.common.errors import UserError, printable
from oneshot.common.params import Count, StageParams
from oneshot.model.model_file import open_tensors, save_tensors
from oneshot.sources.pictures import find_classes, find_pictures

BLOCK = 2**22  # similarities computed at a time: 16 MiB


@dataclass(frozen=True)
class Match:
    """What a picture shows."""

    name: str | None  # of the class; None where that is unknown
    score: float  # mean cosine between the picture and the nearest class's enrolled pictures, -1..1
    nearest: str  # class in any case


class AboutGallery(StageParams):
    """What the file of a gallery says of itself, beside the means."""

    names: Annotated[list[str], Field(min_length=1)]
    counts: list[Count]
    network: str
    sha256: str


@dataclass(frozen=True)
class Gallery:
    """N enrolled classes."""

    names: list[str]
    means: np.ndarray  # (N, D) float32, each the mean of the embeddings of a class's pictures
    counts: np.ndarray  # (N,) numbers of those pictures
    network: str  # md5 of the model file that embedded them

    @classmethod
    def of(cls, classes: Sequence[str], vectors: np.ndarray, network: str) -> Gallery:
        """The gallery of P pictures, given the class and the embedding of each, P names and (P, D) float32."""
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(classes):
            rows.setdefault(name, []).append(row)
        means = np.stack([vectors[part].mean(axis=0) for part in rows.values()])
        return cls(list(rows), means, np.array([len(part) for part in rows.values()]), network)

    def match(self, vectors: np.ndarray, threshold: float) -> list[Match]:
        """What each of the embeddings (P, D) is most like; unknown where its score is below `threshold`."""
        # Ranked by prototypes, as evaluation does; means of few pictures are longer, and would win too often. The mean
        # cosine is what compares with a threshold of pairs.
        prototypes = self.means / np.maximum(np.linalg.norm(self.means, axis=1, keepdims=True), 1e-12)
        found: list[Match] = []
        size = max(1, BLOCK // len(self.names))
        for block in (vectors[first : first + size] for first in range(0, len(vectors), size)):
            places = (block @ prototypes.T).argmax(axis=1)
            scores = np.einsum("pd,pd->p", block, self.means[places])
            for nearest, score in zip((self.names[place] for place in places), scores.tolist(), strict=True):
                found.append(Match(nearest if score >= threshold else None, score, nearest))
        return found

    def joined(self, other: Gallery) -> Gallery:
        """This gallery and another by the same network; a class in both has the pictures of both."""
        if (self.network, self.means.shape[1]) != (other.network, other.means.shape[1]):
            raise UserError("galleries: made with different networks; enroll again with one of them")
        places = {name: place for place, name in enumerate(dict.fromkeys(self.names + other.names))}
        sums, counts = np.zeros((len(places), self.means.shape[1])), np.zeros(len(places), dtype=np.int64)
        for part in (self, other):
            rows = [places[name] for name in part.names]
            np.add.at(sums, rows, part.counts[:, None] * part.means)
            np.add.at(counts, rows, part.counts)
        return Gallery(list(places), (sums / counts[:, None]).astype(np.float32), counts, self.network)

    def without(self, name: str) -> Gallery:
        """This gallery without a class, which may not be the last."""
        place = self._place(name)
        if len(self.names) == 1:
            raise UserError(f"{name}: is the only class; remove the gallery's file instead")
        names, means = [*self.names[:place], *self.names[place + 1 :]], np.delete(self.means, place, axis=0)
        return replace(self, names=names, means=means, counts=np.delete(self.counts, place))

    def renamed(self, old: str, new: str) -> Gallery:
        """This gallery with another name for a class, which no other class may have."""
        place = self._place(old)
        if new in (*self.names, ""):
            raise UserError(f"new name: found {new!r}; must be one that no class has")
        return replace(self, names=[*self.names[:place], new, *self.names[place + 1 :]])

    def _place(self, name: str) -> int:
        if name not in self.names:
            known = ", ".join(self.names[:9]) + (", ..." if len(self.names) > 9 else "")
            raise UserError(f"{name}: no such class; there are {known}")
        return self.names.index(name)

    def save(self, path: str | Path) -> None:
        """Write the gallery: the same bytes for the same classes."""
        about = {"names": self.names, "counts": self.counts.tolist(), "network": self.network}
        means = torch.from_numpy(np.ascontiguousarray(self.means))
        save_tensors(path, {"means": means}, about | {"sha256": self._sha256()})

    @classmethod
    def load(cls, path: str | Path) -> Gallery:
        """Read what `save` wrote; nothing in the file is run."""
        todo = "`oneshot enroll FOLDER --gallery NEW_FILE` makes one"
        with open_tensors(path, AboutGallery, "gallery", todo) as (file, about):
            names, counts, shape = about["names"], about["counts"], file.get_slice("means").get_shape()
            if len(shape) != 2 or not len(names) == len(counts) == shape[0]:
                raise ValueError(f"means of shape {shape}")
            means = file.get_tensor("means").numpy()
            gallery = cls(names, means, np.array(counts), about["network"])
            if means.dtype != np.float32 or not np.isfinite(means).all() or about["sha256"] != gallery._sha256():
                raise ValueError("it was changed after it was written")
        return gallery

    def _sha256(self) -> str:
        """A checksum of all that a gallery is."""
        about = json.dumps([self.names, self.counts.tolist(), self.network]).encode()
        return hashlib.sha256(about + self.means.tobytes()).hexdigest()


def gallery_pictures(folder: str | Path) -> dict[Path, str]:
    """Each picture in `folder`, with its class: the folder in there that holds it, or else its own name."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; it must hold a folder of pictures for each class")
    if any(os.path.isdir(path) and not path.name.startswith(".") for path in folder.iterdir()):
        classes = find_classes(folder)
    else:
        classes = {}
        for path in find_pictures(folder):
            classes.setdefault(path.stem, []).append(path)
    if not all(classes.values()) or not classes:
        raise UserError(f"{next((folder / name for name in classes if not classes[name]), folder)}: holds no pictures")
    return {path: printable(name) for name, paths in classes.items() for path in paths}
