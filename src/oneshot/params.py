"""All of params.yaml: every group, and what must fit together across groups.

Which module owns a group can be read off the imports below.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from oneshot.common.errors import UserError
from oneshot.common.files import parse_yaml, read_yaml
from oneshot.common.params import Group
from oneshot.common.schema import checked, shown
from oneshot.data.split import SplitStage
from oneshot.evaluation.context import MeasuringStage
from oneshot.report.comparison import CompareStage
from oneshot.sources.datasets import DownloadStage, dataset_mistake, known_size
from oneshot.training.classic import ClassicStage
from oneshot.training.reptile import ReptileStage


class Params(DownloadStage, SplitStage, ClassicStage, ReptileStage, MeasuringStage, CompareStage):
    """All parameters, immutable. Attribute names are the keys of params.yaml."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @property
    def classes(self) -> int:
        """Classes of the data set."""
        return known_size(self.dataset)[0]

    @property
    def training_images(self) -> int:
        """Training images of the class with the fewest."""
        return known_size(self.dataset)[1]

    @property
    def seen_classes(self) -> int:
        """Classes that training sees."""
        return self.classes - self.split.unseen_classes - self.split.validation_classes

    def mistakes(self) -> Iterator[tuple[str, Any, str]]:
        """Yield (full name, value, what is allowed) for values that are fine alone but not together."""
        if allowed := dataset_mistake(self.dataset):
            yield "dataset", self.dataset, allowed
        if min(self.classes, self.training_images) < 4:
            found = f"it has {self.classes} classes, and {self.training_images} pictures of one to train on"
            yield "dataset", self.dataset, f"{found}: must have at least 4 of both"
        for name in sorted(type(self).model_fields, key=lambda name: name != "split"):  # on which others depend
            if isinstance(group := getattr(self, name), Group):
                for key, allowed in group.mistakes(self):
                    yield f"{name}.{key}", getattr(group, key), allowed
        outer = self.reptile.meta_batch_size * self.reptile.inner_steps * self.batch.size
        if self.image_budget < (least := max(outer, 2 * self.batch.size)):
            words = "one outer step (meta_batch_size x inner_steps x batch.size)"
            yield "image_budget", self.image_budget, f"must be at least {least}: {words}"


def check_params(path: str | Path = "params.yaml", text: str | None = None) -> Params:
    """Read all of a file of parameters, and check that they fit together.

    Args:
        text: what the file is to hold, where it is not written yet.

    Raises:
        UserError: one line with the file, the full name, the value found and what is allowed.
    """
    values = read_yaml(path) if text is None else parse_yaml(text, str(path))
    params: Params = checked(Params, values, str(path))
    for name, value, allowed in params.mistakes():
        raise UserError(f"{path}: {name}: found {shown(value)}; {allowed}")
    return params
