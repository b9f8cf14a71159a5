"""Inputs to begin with, for whoever has pushed a model and wants to see it run: what must be given, and no more."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from modelyard.models import interface

_REF = "#/components/schemas/"
_VALUES: dict[str, Any] = {"integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}
_FILE = "https://example.org/file"

Schema = Mapping[str, Any]


def inputs(document: Schema) -> dict[str, Any]:
    """The inputs that no call may leave out, each with a value that its schema might take."""
    schemas = document["components"]["schemas"]
    properties = schemas.get("Input", {}).get("properties") or {}
    return {name: _value(list(_parts(properties[name], schemas))) for name in _required(document)}


def flags(document: Schema) -> str:
    """The same as `-i` for a shell, with a space before each; a file is `@FILE`."""
    files = interface.read(document).files
    said = []
    for name, value in inputs(document).items():
        text = "@FILE" if name in files else value if isinstance(value, str) else json.dumps(value)
        said.append(f" -i {shlex.quote(f'{name}={text}') if text != '…' else f'{name}=…'}")
    return "".join(said)


def _required(document: Schema) -> list[str]:
    listed = document["components"]["schemas"].get("Input", {}).get("required", [])
    may_miss = interface.omittable(document)
    return [name for name in listed if name not in may_miss]


def _parts(node: Schema, schemas: Schema) -> Iterator[Schema]:
    """The schema and what it refers to or consists of, nearest first."""
    yield node
    if str(node.get("$ref", "")).startswith(_REF):
        yield from _parts(schemas[node["$ref"].removeprefix(_REF)], schemas)
    for part in (*node.get("allOf", ()), *node.get("anyOf", ())):
        yield from _parts(part, schemas)


def _value(parts: list[Schema]) -> Any:
    for part in parts:
        if part.get("enum"):
            return part["enum"][0]
        if part.get("format") == "uri":
            return _FILE
        if part.get("type") in ("integer", "number") and "minimum" in part:
            return part["minimum"]
        if part.get("type") == "array" and part.get("items"):
            return [_value([part["items"]])]
        if part.get("type") in _VALUES:
            return _VALUES[part["type"]]
    return "…"
