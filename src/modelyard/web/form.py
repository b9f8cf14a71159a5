"""A form from a version's schema: one field an input, in the model's order, with a control that fits what it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from modelyard.models import interface

Node = Mapping[str, Any]

_REF = "#/components/schemas/"
_MOST_STEPS = 1000  # of a slider
_MOST_BUTTONS = 3  # choices that stand side by side
_FOLD_FROM = 5  # fields; a shorter form shows its optional ones too
_DEPTH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One input as it is asked for.

    `control`: text, secret, number, slider, flag, buttons, menu, file, list (of `item` fields) or json. `word`: its
    type for people. `value`: what it starts with, None for nothing. `default`: the schema's own, None for none.
    """

    name: str
    control: str
    word: str
    about: str = ""
    required: bool = False
    optional: bool = False
    value: Any = None
    default: Any = None
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    step: float | str = "any"
    longest: int | None = None
    item: Field | None = None

    @property
    def limits(self) -> str:
        """The range in words; empty without one."""
        if self.low is not None and self.high is not None:
            return f"{self.low:g} to {self.high:g}"
        if self.low is not None:
            return f"{self.low:g} or more"
        return f"{self.high:g} or less" if self.high is not None else ""

    @property
    def text(self) -> str:
        """The value as the control holds it."""
        if self.value is None:
            return ""
        if isinstance(self.value, str) and self.control != "json":
            return self.value
        return msgspec.json.format(msgspec.json.encode(self.value), indent=2).decode()

    @property
    def entries(self) -> list[str]:
        """The values of a list, each as its control holds it."""
        values = self.value if isinstance(self.value, list) else []
        return [value if isinstance(value, str) else msgspec.json.encode(value).decode() for value in values]


@dataclass(frozen=True, slots=True)
class Form:
    """The fields that are always shown, and those behind "More"."""

    fields: tuple[Field, ...]
    more: tuple[Field, ...]

    @property
    def all(self) -> tuple[Field, ...]:
        return self.fields + self.more


def read(schema: Node, values: Mapping[str, Any]) -> Form | None:
    """The form of an OpenAPI document, filled with `values` and else with the defaults; None where it has no inputs."""
    components = schema.get("components")
    schemas = components.get("schemas") if isinstance(components, dict) else None
    whole = schemas.get("Input") if isinstance(schemas, dict) else None
    properties = whole.get("properties") if isinstance(whole, dict) else None
    if not isinstance(schemas, dict) or not isinstance(whole, dict) or not isinstance(properties, dict):
        return None
    required = whole.get("required")
    needed = (set(required) if isinstance(required, list) else set()) - interface.omittable(schema)
    found = [
        _field(name, node, schemas, name in needed, values)
        for name, node in sorted(properties.items(), key=_order)
        if isinstance(node, dict)
    ]
    if len(found) < _FOLD_FROM:
        return Form(tuple(found), ())
    return Form(
        tuple(field for field in found if not field.optional), tuple(field for field in found if field.optional)
    )


def _order(pair: tuple[str, Any]) -> float:
    order = pair[1].get("x-order") if isinstance(pair[1], dict) else None
    return order if isinstance(order, int | float) else float("inf")


def _field(name: str, node: Node, schemas: Node, required: bool, values: Mapping[str, Any]) -> Field:
    flat = _flat(node, schemas)
    default = flat.get("default")
    value = values.get(name, default)
    about = str(flat.get("description") or "")
    optional = not required and default is None
    control = _control(flat, schemas)
    if control.pop("secret", False):
        value = None
    return Field(name=name, about=about, required=required, optional=optional, value=value, default=default, **control)


def _flat(node: Node, schemas: Node, depth: int = 0) -> dict[str, Any]:
    """The schema with references followed and its only real alternative taken; what is said nearer wins."""
    merged: dict[str, Any] = {}
    for part in _parts(node, schemas) if depth < _DEPTH else ():
        merged = {**merged, **_flat(part, schemas, depth + 1)}
    # What an enumeration says of itself ("An enumeration.") says nothing of this input.
    merged.pop("description", None)
    return {**merged, **{key: value for key, value in node.items() if key not in ("allOf", "anyOf", "oneOf", "$ref")}}


def _parts(node: Node, schemas: Node) -> Iterator[Node]:
    reference = node.get("$ref")
    if isinstance(reference, str) and isinstance(schemas.get(reference.removeprefix(_REF)), dict):
        yield schemas[reference.removeprefix(_REF)]
    for word in ("allOf", "anyOf", "oneOf"):
        parts = node.get(word)
        real = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
        real = real if word == "allOf" else [part for part in real if part.get("type") != "null"]
        if word == "allOf" or len(real) == 1:
            yield from real


def _type(node: Node) -> str:
    kind = node.get("type")
    if isinstance(kind, list):
        real = [one for one in kind if one != "null"]
        kind = real[0] if len(real) == 1 else None
    return kind if isinstance(kind, str) else ""


def _control(node: Node, schemas: Node) -> dict[str, Any]:
    choices, kind = node.get("enum"), _type(node)
    if isinstance(choices, list) and choices:
        plain = tuple(choice for choice in choices if choice is not None)
        short = len(plain) <= _MOST_BUTTONS and all(len(str(choice)) <= 24 for choice in plain)
        return {"control": "buttons" if short else "menu", "word": kind or "choice", "choices": plain}
    if kind == "boolean":
        return {"control": "flag", "word": "boolean"}
    if kind in ("integer", "number"):
        return _number(node, kind)
    if kind == "string":
        return _string(node)
    if kind == "array":
        return _list(node, schemas)
    return {"control": "json", "word": kind or "any"}


def _string(node: Node) -> dict[str, Any]:
    if node.get("format") == "uri":
        return {"control": "file", "word": "file"}
    if node.get("x-cog-secret") is True or node.get("format") == "password":
        return {"control": "secret", "word": "secret", "secret": True}
    longest = node.get("maxLength")
    return {"control": "text", "word": "string", "longest": longest if isinstance(longest, int) else None}


def _number(node: Node, kind: str) -> dict[str, Any]:
    low, high = _limit(node.get("minimum")), _limit(node.get("maximum"))
    shape: dict[str, Any] = {"word": kind, "low": low, "high": high, "step": 1 if kind == "integer" else "any"}
    if low is None or high is None or high <= low:
        return {"control": "number", **shape}
    if kind == "integer":
        return {"control": "slider" if high - low <= _MOST_STEPS else "number", **shape}
    # A hundred steps between the ends, written with as few digits as that takes.
    step = next(step for step in _STEPS if step <= (high - low) / 100) if high - low >= _STEPS[-1] * 100 else None
    if step is None or (high - low) / step > _MOST_STEPS:
        return {"control": "number", **shape}
    return {"control": "slider", **shape, "step": step}


_STEPS = (1000, 100, 10, 1, 0.1, 0.01, 0.001)


def _limit(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _list(node: Node, schemas: Node) -> dict[str, Any]:
    inner = node.get("items")
    control = _control(_flat(inner, schemas), schemas) if isinstance(inner, dict) else {"control": "json"}
    if control["control"] in ("json", "list", "secret"):
        return {"control": "json", "word": "list"}
    if control["control"] in ("buttons", "slider", "flag"):
        control["control"] = {"buttons": "menu", "slider": "number", "flag": "menu"}[control["control"]]
        control = {"choices": (True, False), **control}
    return {"control": "list", "word": f"list of {control['word']}s", "item": Field(name="", **control)}


def from_query(pairs: Sequence[tuple[str, str]], schema: Node) -> dict[str, Any]:
    """Inputs as the address holds them: texts as they are, all else as JSON; what cannot be read is left out."""
    form = read(schema, {})
    fields = {} if form is None else {field.name: field for field in form.all}
    found: dict[str, Any] = {}
    for name, text in pairs:
        field = fields.get(name)
        if field is not None and field.control != "secret":
            value = _from_text(field, text)
            if value is not None:
                found[name] = value
    return found


def _from_text(field: Field, text: str) -> Any:
    if field.control in ("text", "file") or (field.choices and text in field.choices):
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
