"""A project whose figures are known, for the tests of the record and of the pages."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from helpers import ROOT

from oneshot.common.files import write_json, write_table
from oneshot.record.studies import Record

ABOUT = {"device": "cpu", "threads": 2, "precision": "fp32", "images": 1234, "weights": 5678}
ABOUT |= {"hardware": "Chip", "system": "Linux", "python": "3.11.9", "torch": "2.0"}


def details(triplet: float = 0.9, binary: float = 0.8, group: str = "unseen") -> dict[str, Any]:
    """Figures of one training: these accuracies of all groups, one-shot 60 ± 1.23 %, adapted on 1 and on all images."""
    kinds = {"": binary, "_fixed": 0.55, "_best": binary + 0.05, "_own_thresholds": binary + 0.06}
    of_group: dict[str, Any] = {"triplet_accuracy": triplet}
    of_group |= {f"binary_accuracy{kind}": value for kind, value in kinds.items()}
    shot = {"accuracy": 0.6, "ci95": 0.0123}
    held_out = of_group | {
        "one_shot": shot,
        "five_shot": shot,
        "sampled_episodes": {"one_shot": shot, "five_shot": shot},
    }
    adapted = {"threshold": 0.4, group: of_group | {"one_shot": shot}, f"{group}_reference": of_group}
    return {
        "threshold": 0.5,
        "seen": of_group,
        group: held_out,
        f"{group}_reference": of_group,
        "near_duplicates": 7,
        f"{group}_distinct": of_group,
        "adapted_1": adapted,
        "adapted_all": adapted,
        "adapted_seen_all": of_group,
        "record": ABOUT,
    }


def classes(triplet: float = 0.9) -> list[dict[str, Any]]:
    """Rows of two held-out classes, around this triplet accuracy."""
    columns = ["binary_accuracy"] + [
        f"adapted_{shots}_{kind}"
        for shots in ("1", "all")
        for kind in ("triplet_accuracy", "prototype_accuracy", "prototype_accuracy_frozen")
    ]
    return [
        {"class": name, **{f"{m}_triplet_accuracy": triplet + shift for m in ("classic", "meta")}}
        | {f"{m}_{column}": 0.8 + shift for m in ("classic", "meta") for column in columns}
        for name, shift in (("willow_tree", 0.01), ("worm", -0.01))
    ]


def make_project(folder: Path) -> Path:
    """The project's parameters, configs and lines of the record, and a run of its own, without any study."""
    for name in ("params.yaml", "studies/runs.yaml", "studies/published.yaml"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "configs", folder / "configs")
    write_json(folder / "metrics/details/classic.json", details())
    write_json(folder / "metrics/details/meta.json", details(0.875))
    write_table(folder / "plots/comparison/classes.csv", classes())
    return folder


def add_study(folder: Path, name: str, classic: dict[str, Any], meta: dict[str, Any] | None = None) -> None:
    """Figures of a line of the record, run with the present default of the project in `folder`."""
    record = Record(folder)
    overrides = record.changes(name)
    about = {"why": "", "default": record.digest(overrides), "parameters": overrides}
    write_json(
        folder / f"studies/{name}.json", about | {"classic": classic, "meta": meta or classic, "classes": classes()}
    )
