"""What a version takes and gives, read from its OpenAPI schema: names of inputs, which are files, numbers, secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelyard_runner import lenient

# Inputs that Cog's schema requires and a call may leave out: `Input(default=None)` on a type without None.
_OMITTABLE = "x-modelyard-omittable"
_REF = "#/components/schemas/"
_MAX_DEPTH = 12
_COMBINERS = ("allOf", "anyOf", "oneOf")

Node = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """The inputs and the output of a version.

    `inputs`: every input's name, or None when the schema does not say. `files`: those that take files, at any depth.
    `integers`: those that take whole numbers, alone or in a list. `secrets`: those never shown. `file_output`: each
    item of the output is a file. `iterator`: the output is a list that grows item by item; `concatenate`: its items are
    pieces of one text. `schema`: what inputs are checked against, nulls allowed where the model takes them. `lenient`:
    those that may come as text, and what that is read as.
    """

    inputs: frozenset[str] | None = None
    files: frozenset[str] = frozenset()
    integers: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    file_output: bool = False
    iterator: bool = False
    concatenate: bool = False
    schema: Node | None = None
    lenient: Mapping[str, str] = field(default_factory=dict)

    @property
    def streams_text(self) -> bool:
        """Does its text come piece by piece?"""
        return self.iterator and self.concatenate


def read(document: Node) -> Interface:
    """The interface in an OpenAPI document. One of an unknown shape gives an interface that knows less."""
    components = document.get("components")
    schemas = components.get("schemas") if isinstance(components, dict) else None
    if not isinstance(schemas, dict) or not isinstance(schemas.get("Input"), dict):
        return Interface()
    properties = schemas["Input"].get("properties")
    if not isinstance(properties, dict):
        properties = {}
    output = schemas.get("Output")
    nodes = {name: list(_walk(node, schemas)) for name, node in properties.items() if isinstance(node, dict)}
    return Interface(
        inputs=frozenset(properties),
        files=frozenset(name for name, parts in nodes.items() if any(part.get("format") == "uri" for part in parts)),
        integers=tuple(name for name, parts in nodes.items() if _is_integer(parts)),
        secrets=tuple(name for name, parts in nodes.items() if any(part.get("x-cog-secret") is True for part in parts)),
        iterator=isinstance(output, dict) and output.get("x-cog-array-type") == "iterator",
        concatenate=isinstance(output, dict) and output.get("x-cog-array-display") == "concatenate",
        file_output=_gives_files(output, schemas),
        schema=_checkable(schemas, omittable(document)),
        lenient=lenient.named(document, "Input"),
    )


def omittable(document: Node) -> frozenset[str]:
    """The inputs that a call may leave out although the schema lists them as required."""
    found = document.get(_OMITTABLE)
    names = found.get("Input") if isinstance(found, dict) else None
    return frozenset(name for name in names if isinstance(name, str)) if isinstance(names, list) else frozenset()


def _walk(node: object, schemas: Node, depth: int = 0) -> Iterator[Node]:
    """A schema and everything in it, references followed."""
    if not isinstance(node, dict) or depth > _MAX_DEPTH:
        return
    yield node
    reference = node.get("$ref")
    if isinstance(reference, str) and reference.startswith(_REF):
        yield from _walk(schemas.get(reference[len(_REF) :]), schemas, depth + 1)
    for word in _COMBINERS:
        parts = node.get(word)
        for part in parts if isinstance(parts, list) else ():
            yield from _walk(part, schemas, depth + 1)
    properties = node.get("properties")
    inner = list(properties.values()) if isinstance(properties, dict) else []
    for part in (node.get("items"), node.get("additionalProperties"), *inner):
        yield from _walk(part, schemas, depth + 1)


def _is_integer(parts: list[Node]) -> bool:
    types = {part.get("type") for part in parts if isinstance(part.get("type"), str)}
    return "integer" in types and types <= {"integer", "array", "null"}


def _gives_files(output: object, schemas: Node) -> bool:
    parts = list(_walk(output, schemas))
    return any(part.get("format") == "uri" for part in parts) and not any("properties" in part for part in parts)


def _checkable(schemas: Node, may_miss: frozenset[str]) -> Node:
    changed = {name: _nullable(schema) for name, schema in schemas.items() if isinstance(schema, dict)}
    whole = changed["Input"]
    properties = whole.get("properties")
    required = whole.get("required")
    needed = set(required) - may_miss if isinstance(required, list) else set()
    if isinstance(required, list):
        whole["required"] = [name for name in required if name not in may_miss]
    if isinstance(properties, dict):
        # Older schemas leave an optional input out of `required` and say no more; it takes null as well.
        whole["properties"] = {
            name: _or_null(node) if name not in needed and isinstance(node, dict) and "default" not in node else node
            for name, node in properties.items()
        }
    return {"$ref": f"{_REF}Input", "components": {"schemas": changed}}


def _nullable(node: Any) -> Any:
    """The schema with OpenAPI's `nullable` written as JSON Schema understands it."""
    if isinstance(node, list):
        return [_nullable(item) for item in node]
    if not isinstance(node, dict):
        return node
    changed = {key: value if key in ("enum", "default", "example") else _nullable(value) for key, value in node.items()}
    return _or_null(changed) if changed.pop("nullable", False) is True else changed


def _or_null(node: dict[str, Any]) -> dict[str, Any]:
    kind = node.get("type")
    if isinstance(kind, str) and "enum" not in node and not any(word in node for word in (*_COMBINERS, "$ref")):
        return {**node, "type": [kind, "null"]}
    if isinstance(kind, list) and "null" in kind:
        return node
    return {"anyOf": [node, {"type": "null"}]}
