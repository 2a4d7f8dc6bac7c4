"""The record: lines of studies/runs.yaml, their figures in studies/<name>.json, and which of these still hold."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any, NotRequired

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict  # pydantic takes typing's from Python 3.12 on

from oneshot.common.files import read_json, read_table, read_yaml
from oneshot.record.runs import read_overrides
from oneshot.report.comparison import METHODS, flat, held_out, side_by_side

CLASS_COLUMNS = ("class", *(f"{method}_{kind}_accuracy" for method in METHODS for kind in ("triplet", "binary")))
Study = dict[str, Any]  # classic and meta: nested details; classes: rows of both; of a line also parameters


@with_config(ConfigDict(extra="forbid"))
class Line(TypedDict):
    """A line of studies/runs.yaml: what it is to show, what it changes, by full names, and of which config."""

    why: str
    set: dict[str, Any]
    config: NotRequired[str]
    needs: NotRequired[str]


@with_config(ConfigDict(extra="allow"))
class Figures(TypedDict):
    """A file studies/NAME.json: what was changed of which default, and what came of it."""

    default: str
    parameters: dict[str, Any]
    classic: dict[str, Any]
    meta: dict[str, Any]
    classes: list[dict[str, Any]]


class NotRun(Exception):
    """Figures that are not there, and the command that makes them."""


class Record:
    """What the project in `root` has measured. Each file is read once, when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def lines(self) -> dict[str, Line]:
        """The lines of studies/runs.yaml, by name; none where there is no such file."""
        return self._yaml("studies/runs.yaml", dict[str, Line])

    @cached_property
    def published(self) -> dict[str, Any]:
        """Figures of others: studies/published.yaml; none where there is no such file."""
        return self._yaml("studies/published.yaml")

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """params.yaml, by full names."""
        return flat(self._yaml("params.yaml"))

    @cached_property
    def default(self) -> Study:
        """The project's own run.

        Raises:
            NotRun: there is none.
        """
        files = {method: self.root / f"metrics/details/{method}.json" for method in METHODS}
        classes = self.root / "plots/comparison/classes.csv"
        if not all(file.exists() for file in (*files.values(), classes)):
            raise NotRun("dvc repro")
        details = {method: read_json(file, dict[str, Any]) for method, file in files.items()}
        return details | {"classes": read_table(classes, CLASS_COLUMNS)}

    @cached_property
    def figures(self) -> dict[str, dict[str, Any]]:
        """Those of each training in the project's own run, by dotted names."""
        return {method: flat(self.default[method]) for method in METHODS}

    @property
    def held_out(self) -> str:
        """The group of classes that the headlines of the project's own run are of."""
        return held_out(self.default["classic"])

    @cached_property
    def done(self) -> dict[str, Study]:
        """The lines that have figures for the present default, with these."""
        return {name: study for name in self.lines if (study := self.load(name))}

    def study(self, name: str) -> Study:
        """The figures of a line of the record.

        Raises:
            NotRun: it has none for the present default.
        """
        if name not in self.done:
            raise NotRun(f"python scripts/run_studies.py {name}")
        return self.done[name]

    @cached_property
    def seeds(self) -> list[Study]:
        """The project's own run, and after it those that differ in nothing but the seed."""
        return [self.default, *(study for name, study in self.done.items() if name.startswith("seed_"))]

    def due(self) -> list[str]:
        """Names of the lines that have no figures for the present default, and need nothing special."""
        return [name for name, line in self.lines.items() if name not in self.done and "needs" not in line]

    def changes(self, name: str) -> dict[str, Any]:
        """What a line changes of params.yaml: its config's values, and after them its own."""
        line = self.lines[name]
        return (read_overrides(self.root / line["config"], []) if "config" in line else {}) | line["set"]

    def digest(self, overrides: dict[str, Any]) -> str:
        """8 hex digits that change with every default in params.yaml that `overrides` does not set itself.

        A parameter of studies/added.yaml counts only where it has another value than there.
        """
        added, defaults = self._yaml("studies/added.yaml"), _settings(self.defaults)
        same = {*overrides, *(name for name, value in added.items() if defaults.get(name) == value)}
        kept = {name: value for name, value in defaults.items() if name not in same}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]

    def load(self, name: str) -> Study | None:
        """The figures of a line as it now stands; None where there are none for it, or for another default."""
        if not (file := self.root / f"studies/{name}.json").exists():
            return None
        study: Study = read_json(file, Figures)
        same_default = study["default"] == self.digest(study["parameters"])
        same_line = _settings(study["parameters"]) == _settings(self.changes(name))
        return study if same_default and same_line else None

    def _yaml(self, path: str, schema: Any = dict[str, Any]) -> Any:
        """A file of the project; empty where there is none."""
        file = self.root / path
        return read_yaml(file, schema) if file.exists() else {}


def figures_of(folder: Path) -> Study:
    """Details of both trainings, with their records, and the figures of each held-out class, of the run in `folder`."""
    study: Study = {}
    for method in METHODS:
        details = read_json(folder / f"results/evaluated/{method}/details.json")
        study[method] = details | {"record": read_json(folder / f"results/trained/{method}/record.json")}
    tables = (read_table(folder / f"results/evaluated/{method}/classes.csv") for method in METHODS)
    return study | {"classes": side_by_side(*tables)}


def _settings(parameters: dict[str, Any]) -> dict[str, Any]:
    """Without those that change no figure beyond rounding: which training is shown, and where it runs."""
    return {name: v for name, v in parameters.items() if name != "training" and not name.startswith("hardware.")}
