"""Groups of parameters: how params.yaml is read and checked.

A group is a model beside the code that uses it; a stage reads the groups that it needs, and `oneshot.params` has all.
What each parameter means, its unit or range and the reference's value stand beside it in params.yaml.
"""

from __future__ import annotations

import copy
import difflib
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from oneshot.common.errors import UserError

# 'e' without a dot or sign is a number in YAML 1.2, which DVC writes, and a string in PyYAML's 1.1.
_YAML_12_FLOAT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")


def _number(value: Any) -> Any:
    if isinstance(value, str) and _YAML_12_FLOAT.fullmatch(value):
        return float(value)
    return value


def _whole(value: Any) -> Any:
    value = _number(value)  # `-S image_budget=1e6` means a whole number
    return int(value) if isinstance(value, float) and math.isfinite(value) and value == int(value) else value


Int = Annotated[int, BeforeValidator(_whole)]
Float = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
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
    """Read and check what `model` names of a file of parameters.

    Raises:
        UserError: one line with the file, the full name, the value found and what is allowed.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run from the top folder of the project") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: found {shown(values)}; it must be lines of `name: value`")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {_first_mistake(error, model)}") from None


def names_of(model: type[BaseModel]) -> list[str]:
    """The full names of all parameters of a model, such as `seed` and `reptile.inner_steps`, in order."""
    names = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Group):
            names += [f"{name}.{rest}" for rest in names_of(inner)]
        else:
            names.append(name)
    return names


def changed(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of parameters in groups, with others by their full names."""
    values = copy.deepcopy(values)
    for name, value in changes.items():
        group, _, key = name.rpartition(".")
        (values[group] if group else values)[key] = value
    return values


def shown(value: Any) -> str:
    """A value as messages show it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def unknown(name: str, known: list[str]) -> str:
    """What to do about an unknown name: the nearest known one, or none."""
    names = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f"unknown parameter; did you mean {names[0]}?" if names else "unknown parameter; remove it"


def _first_mistake(error: ValidationError, model: type[BaseModel]) -> str:
    mistakes = error.errors()
    # An unknown name explains a missing one: it is the same typing mistake.
    first = next((m for m in mistakes if m["type"] == "extra_forbidden"), mistakes[0])
    name = ".".join(part for part in map(str, first["loc"][:2]) if not part.isdecimal()) or "?"
    if first["type"] == "extra_forbidden":
        todo = unknown(name, names_of(model)).replace("parameter;", f"parameter, found with {shown(first['input'])};")
        return f"{name}: {todo}"
    if first["type"] == "missing":
        return f"{name}: missing; add it (docs/parameters.md lists all)"
    return f"{name}: found {shown(first['input'])}; {_allowed(first)}"


def _allowed(mistake: Any) -> str:
    kind, context = mistake["type"], mistake.get("ctx", {})
    bounds = {
        "greater_than": ("gt", "must be above"),
        "greater_than_equal": ("ge", "must be at least"),
        "less_than": ("lt", "must be below"),
        "less_than_equal": ("le", "must be at most"),
    }
    if kind in bounds:
        bound, words = bounds[kind]
        return f"{words} {context[bound]:g}"
    if kind == "literal_error":
        return f"must be one of {context['expected'].replace(' or ', ', ')}"
    most = context.get("min_length") or context.get("max_length")
    words_of = {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "list": "a list such as [1, 5]",
        "finite": "a finite number",
        "string": "a word or a path",
        "model": "a group of parameters, `name: value` lines below it",
        "too": f"a list of at {'least' if kind == 'too_short' else 'most'} {most} numbers",
    }
    return f"must be {words_of.get(kind.split('_')[0], mistake['msg'].lower())}"
