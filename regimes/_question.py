"""What the scripts here share: the networks of the ten folds, and the file that an answer is written to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from oneshot.common.errors import UserError
from oneshot.common.files import write_json

ROOT = Path(__file__).resolve().parents[1]
FOLDS = range(1, 11)


def fold_network(fold: int, method: str) -> Path:
    """The model file that a training of a fold left.

    Raises:
        UserError: it did not run on this machine.
    """
    path = ROOT / f"runs/fold_{fold}/results/trained/{method}/model.safetensors"
    if not path.exists():
        raise UserError(f"{path}: not there; `python scripts/run_studies.py fold_{fold}` trains it")
    return path


def write_answer(
    name: str,
    arms: tuple[str, str],
    pairs: Sequence[str],
    figures: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    about: Mapping[str, Any],
) -> None:
    """Write studies/`name`.json, which `make pages` reads.

    Args:
        name: of the question in studies/questions.yaml.
        arms: what is compared; the difference is second - first.
        pairs: what a pair of figures shares, such as a fold or a seed.
        figures: words for a figure -> its values for each arm, one a pair, fractions of 1; the first decides.
        about: what a reader needs to judge them, such as the machine.
    """
    rows = [{"what": words, "first": list(first), "second": list(second)} for words, (first, second) in figures.items()]
    content = {"first": arms[0], "second": arms[1], "pairs": list(pairs), "figures": rows, "about": dict(about)}
    write_json(ROOT / f"studies/{name}.json", content)
