"""Galleries: enrolled classes as a few numbers each, in a file of their own; what a picture is most like of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oneshot.common.errors import UserError
from oneshot.common.files import write_bytes
from oneshot.sources.pictures import find_pictures

MOST_BYTES = 2**28  # of a file that is read as a gallery


@dataclass(frozen=True)
class Match:
    """What a picture shows: the class's name, None where that is unknown; a score; the nearest class in any case.

    Args:
        score: mean cosine between the picture and the nearest class's enrolled pictures, -1..1.
    """

    name: str | None
    score: float
    nearest: str


@dataclass(frozen=True)
class Gallery:
    """N enrolled classes.

    Args:
        means: (N, D) float32, each the mean of the embeddings of a class's pictures.
        counts: (N,) numbers of those pictures.
        network: md5 of the model file that embedded them.
    """

    names: list[str]
    means: np.ndarray
    counts: np.ndarray
    network: str

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
        found = []
        for place, scores in zip((vectors @ prototypes.T).argmax(axis=1), vectors @ self.means.T, strict=True):
            nearest, score = self.names[int(place)], float(scores[place])
            found.append(Match(nearest if score >= threshold else None, score, nearest))
        return found

    def save(self, path: str | Path) -> None:
        """Write the gallery: the same bytes for the same classes."""
        buffer = io.BytesIO()
        names, network = (np.array(text, dtype=np.str_) for text in (self.names, self.network))
        np.savez_compressed(buffer, names=names, means=self.means, counts=self.counts, network=network)
        write_bytes(path, buffer.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> Gallery:
        """Read what `save` wrote; nothing in the file is run.

        Raises:
            UserError: the file is missing or is no gallery.
        """
        try:
            if Path(path).stat().st_size > MOST_BYTES:
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


def gallery_pictures(folder: str | Path) -> dict[Path, str]:
    """Each picture in `folder`, with its class: the folder in there that holds it, or else its own name.

    Raises:
        UserError: no such folder, or no pictures in it or in a folder of a class.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; it must hold a folder of pictures for each class")
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if inside:
        pictures = {path: part.name for part in inside for path in find_pictures(part)}
    else:
        pictures = {path: path.stem for path in find_pictures(folder)}
    filled = set(pictures.values())
    empty = [part for part in inside if part.name not in filled]
    if empty or not pictures:
        raise UserError(f"{empty[0] if empty else folder}: holds no pictures")
    return pictures
