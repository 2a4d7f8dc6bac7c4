"""What a value from outside must be: a type that pydantic knows; a mistake is told in one line of plain words."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from oneshot.common.errors import UserError, printable

# What is allowed, by pydantic's kinds of mistakes or what these begin with.
WORDS = {
    "greater_than": "above {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "below {lt:g}",
    "less_than_equal": "at most {le:g}",
    "literal_error": "{expected}",
    "too_short": "a list of at least {min_length} numbers",
    "too_long": "a list of at most {max_length} numbers",
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "list": "a list such as [1, 5]",
    "string": "a word or a path",
    "model": "a group of parameters, `name: value` lines below it",
    "dict": "lines of `name: value`",
}


def checked(schema: Any, value: Any, where: str, missing: str = "add it") -> Any:
    """`value` as a type that pydantic knows, taken strictly: text is no number.

    A UserError tells `where`, the name, what was found and what is allowed; or what to do where it is `missing`.
    """
    try:
        return TypeAdapter(schema).validate_python(value, strict=True)
    except ValidationError as error:
        raise UserError(f"{where}: {_first_mistake(error, schema, missing)}") from None


def names_of(model: type[BaseModel]) -> list[str]:
    """The full names of all parameters of a model, such as `seed` and `reptile.inner_steps`, in order."""
    names = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names += [f"{name}.{rest}" for rest in names_of(inner)]
        else:
            names.append(name)
    return names


def shown(value: Any) -> str:
    """A value as messages show it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(name: str, known: list[str]) -> str:
    """What to do about an unknown name: take the nearest known one, or none."""
    names = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f"did you mean {names[0]}?" if names else "remove it"


def _first_mistake(error: ValidationError, schema: Any, missing: str) -> str:
    mistakes = error.errors()
    # An unknown name explains a missing one: it is the same typing mistake.
    first = next((m for m in mistakes if m["type"] == "extra_forbidden"), mistakes[0])
    parts = (f"[{part}]" if isinstance(part, int) else f".{printable(part)}" for part in first["loc"])
    name = "".join(parts).removeprefix(".")
    if first["type"] == "extra_forbidden":
        known = names_of(schema) if isinstance(schema, type) and issubclass(schema, BaseModel) else []
        return f"{name}: unknown, found with {shown(first['input'])}; {nearest(name, known)}"
    if first["type"] == "missing":
        return f"{name}: missing; {missing}"
    return f"{name}: ".removeprefix(": ") + f"found {shown(first['input'])}; {_allowed(first)}"


def _allowed(mistake: Any) -> str:
    kind = mistake["type"]
    if words := WORDS.get(kind) or WORDS.get(kind.split("_")[0]):
        return f"must be {words.format(**mistake.get('ctx', {}))}"
    return f"must be {mistake['msg'].lower()}"
