"""Open-set identification: pictures of enrolled classes are to be named, and those of strangers are not.

Measured as in face recognition: the share named rightly, over the share of strangers that are named (Phillips,
Grother, Micheals 2011, "Evaluation methods in face recognition", section 21.4).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oneshot.data.sampling import random_stream
from oneshot.evaluation.metrics import on_grid, pair_similarities, similarities

WISHED = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # shares of strangers that are named
DRAWS = 100  # of the classes that are enrolled, and of their supports


def strict_rate(false_alarms: float, classes: int) -> float:
    """The share of pairs that may pass, so that a stranger to so many classes passes with the chance `false_alarms`.

    Each class is taken to be passed independently of the others.
    """
    return float(1 - (1 - false_alarms) ** (1 / classes))


def open_set(supports: Sequence[Tensor], tests: Sequence[Tensor], seed: int) -> dict[str, dict[str, float]]:
    """Half of the classes, drawn anew each time, are enrolled by one support; the others are strangers.

    Args:
        supports, tests: for each of C >= 2 classes (S, D) and (T, D) unit vectors; all of the latter are asked about.

    Returns:
        For each wished rate of false alarms, means over draws: `identified`, the share of pictures of enrolled classes
        that are named rightly at the threshold of just that rate; and `found`, the rate where the threshold is the one
        that `strict_rate` gives from pairs of the enrolled classes, which know no stranger (none with one class).
    """
    supports, tests = ([on_grid(vectors) for vectors in part] for part in (supports, tests))
    found = np.array([_draw(supports, tests, random_stream(seed, "open_set", draw)) for draw in range(DRAWS)])
    return {
        f"false_alarms_{100 * wished:g}": {"identified": float(identified)}
        | ({"found": float(rate)} if len(tests) > 2 else {})
        for wished, (identified, rate) in zip(WISHED, found.mean(axis=0), strict=True)
    }


def _draw(supports: Sequence[Tensor], tests: Sequence[Tensor], rng: np.random.Generator) -> NDArray[np.float64]:
    order = rng.permutation(len(tests))
    known, strangers = np.split(order, [-(len(order) // 2)])
    gallery = torch.stack([supports[label][rng.integers(len(supports[label]))] for label in known])
    asked = [tests[label] for label in known]
    labels = torch.arange(len(known)).repeat_interleave(torch.tensor([len(part) for part in asked]))
    scores, nearest = similarities(torch.cat(asked), gallery).max(dim=1)
    right = nearest.eq(labels)
    alien = similarities(torch.cat([tests[label] for label in strangers]), gallery).amax(dim=1)
    _, different = pair_similarities(torch.cat(asked), labels)
    rows = []
    for wished in WISHED:
        exact = np.quantile(alien, 1 - wished)
        strict = float(np.quantile(different, 1 - strict_rate(wished, len(known)))) if len(known) > 1 else 0.0
        rows.append([(right & (scores >= exact)).double().mean().item(), (alien >= strict).double().mean().item()])
    return np.array(rows)
