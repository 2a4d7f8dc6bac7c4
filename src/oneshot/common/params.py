"""Groups of parameters: how params.yaml is read and checked.

A group is a model beside the code that uses it; a stage reads the groups that it needs, and `oneshot.params` has all.
What each parameter means, its unit or range and the reference's value stand beside it in params.yaml.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from oneshot.common.files import read_yaml


def _whole(value: Any) -> Any:
    """`-S image_budget=1e6` means a whole number."""
    return int(value) if isinstance(value, float) and math.isfinite(value) and value == int(value) else value


Int = Annotated[int, BeforeValidator(_whole)]
Float = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[Float, Field(gt=0, le=1e6)]
Weight = Annotated[Float, Field(ge=0, le=1e6)]
Count = Annotated[Int, Field(ge=1, le=10**12)]
Two = Annotated[Int, Field(ge=2, le=10**6)]
Seed = Annotated[Int, Field(ge=0, lt=2**31)]


class Group(BaseModel):
    """A group of parameters, immutable; an unknown name in it is a mistake."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    def mistakes(self, params: Any) -> Iterator[tuple[str, str]]:
        """Yield (name in this group, what is allowed) for values that are fine alone but not beside all `params`."""
        yield from ()


class StageParams(BaseModel):
    """What a stage reads of params.yaml: single parameters and groups. What else stands there is other stages'."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


AnyParams = TypeVar("AnyParams", bound=StageParams)


def load_params(model: type[AnyParams], path: str | Path = "params.yaml") -> AnyParams:
    """What `model` names of a file of parameters; a UserError has the full name, the value and what is allowed."""
    return read_yaml(path, model)


def changed(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of parameters in groups, with others by their full names."""
    values = copy.deepcopy(values)
    for name, value in changes.items():
        group, _, key = name.rpartition(".")
        (values[group] if group else values)[key] = value
    return values
