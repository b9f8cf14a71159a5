"""Inputs against the model's own schema, compiled once: what is wrong where, which are files, which are secret."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import jsonschema_rs
import msgspec

from modelyard_runner import envelope, lenient

log = logging.getLogger(__name__)

SECRET = b'"**********"'
_REF = "#/components/schemas/"
# The document's list of inputs that are required in name only: their functions have a default, which is None.
_OMITTABLE = "x-modelyard-omittable"
# Its patterns by input that JSON Schema has no words for, as Python has them.
_PATTERNS = "x-modelyard-patterns"
_MAX_DEPTH = 12
_MAX_SHOWN = 300

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Checker:
    """Checks inputs against one component (`Input`, `TrainingInput`) of an OpenAPI document.

    `files` are the inputs that take files, alone or in lists. `former`: the model is one for a Cog up to 0.16. A
    document that says nothing of the component lets every object through.
    """

    def __init__(self, document: Mapping[str, Any], component: str) -> None:
        schemas = document.get("components", {}).get("schemas", {})
        schema = schemas.get(component)
        properties = schema.get("properties", {}) if isinstance(schema, dict) else {}
        walked = {name: list(_walk(node, schemas, 0)) for name, node in properties.items()}
        self.files = frozenset(n for n, parts in walked.items() if any(part.get("format") == "uri" for part in parts))
        self.secrets = frozenset(n for n, parts in walked.items() if any(part.get("x-cog-secret") for part in parts))
        omittable = document.get(_OMITTABLE, {}).get(component, ())
        self.lenient = lenient.named(document, component)
        self.former = lenient.EXTENSION in document
        self._nullable = frozenset(n for n, node in properties.items() if node.get("nullable") or n in omittable)
        self._validator = _compile(schemas, component, omittable) if isinstance(schema, dict) else None
        self._patterns = dict(_readable(document.get(_PATTERNS, {}).get(component, {})))

    def check(self, given: Any) -> dict[str, Any]:
        """The values of an input: JSON (`msgspec.Raw`), or what was read of it. Raises RequestError, with every fault,
        by field.
        """
        values = _values(given)
        if self.lenient:
            lenient.read(values, self.lenient)
        checked = values
        if None in values.values():  # null means: not given
            checked = {name: value for name, value in values.items() if value is not None or name not in self._nullable}
        if self._validator is not None and not self._validator.is_valid(checked):
            faults = sorted(_fault(error) for error in self._validator.iter_errors(checked))
            raise envelope.invalid(faults)
        if self._patterns and (unlike := list(self._unlike(checked))):
            raise envelope.invalid(unlike)
        return values

    def _unlike(self, values: Mapping[str, Any]) -> Iterator[envelope.Fault]:
        for name, pattern in self._patterns.items():
            value = values.get(name)
            for text in value if isinstance(value, list) else (value,):
                if isinstance(text, str) and not pattern.search(text):
                    shown = msgspec.json.encode(text[:_MAX_SHOWN]).decode()
                    yield ["body", "input", name], f'{shown} does not match "{pattern.pattern}"', "value_error"

    def shown(self, raw: bytes) -> bytes:
        """The input without its secrets, as compact JSON."""
        if not self.secrets:
            return msgspec.json.format(raw, indent=-1)
        values = _decode_raw(raw)
        for name in self.secrets & values.keys():
            if values[name] != b"null":
                values[name] = msgspec.Raw(SECRET)
        return msgspec.json.encode(values)


def _readable(patterns: Mapping[str, str]) -> Iterator[tuple[str, re.Pattern[str]]]:
    for name, pattern in patterns.items():
        try:
            yield name, re.compile(pattern)
        except re.error as error:  # of a newer Python than this; the worker's own checks it
            log.info("the pattern of input %s is left to the worker: %s", name, error)


def _values(given: Any) -> dict[str, Any]:
    if isinstance(given, dict):
        return given
    raw = bytes(given) if isinstance(given, msgspec.Raw) else msgspec.json.encode(given)
    try:
        return _decode(raw)
    except (msgspec.ValidationError, RecursionError) as error:
        shown = raw[:_MAX_SHOWN].decode("utf-8", "replace")
        said = f'{shown} is not of type "object"' if raw[:1] != b"{" else str(error) or "it is nested too deeply"
        raise envelope.invalid([(["body", "input", "__root__"], said, "value_error")]) from None


def _fault(error: jsonschema_rs.ValidationError) -> envelope.Fault:
    path = list(map(str, error.instance_path))
    if error.kind.name == "required":
        name = str(error.kind.as_dict().get("property"))
        return ["body", "input", "/".join([*path, name])], "Field required", "value_error.missing"
    message = error.message
    if error.kind.name == "enum":  # with the choices as JSON, as Cog has it
        options = msgspec.json.encode(error.kind.as_dict()["options"]).decode()
        message = f"{msgspec.json.encode(error.instance).decode()} is not one of {options}"
    if len(message) > 2 * _MAX_SHOWN:
        message = f"{message[:_MAX_SHOWN]}…{message[-_MAX_SHOWN:]}"
    return ["body", "input", "/".join(path) or "__root__"], message, "value_error"


def _walk(node: Any, schemas: Mapping[str, Any], depth: int) -> Iterator[Mapping[str, Any]]:
    """A schema and everything in it, references followed."""
    if not isinstance(node, dict) or depth > _MAX_DEPTH:
        return
    yield node
    reference = node.get("$ref")
    if isinstance(reference, str):
        yield from _walk(schemas.get(reference[len(_REF) :]), schemas, depth + 1)
    parts = [part for word in ("allOf", "anyOf", "oneOf") for part in node.get(word) or ()]
    for part in (*parts, node.get("items")):
        yield from _walk(part, schemas, depth + 1)


def _compile(schemas: Mapping[str, Any], component: str, omittable: Collection[str]) -> Any:
    # Only its own nulls at the top are left to `check`: so the validator's words for them stay simple.
    own = {**schemas[component], "properties": dict(schemas[component].get("properties", {}))}
    own["required"] = [name for name in own.get("required", ()) if name not in omittable]
    prepared = {name: _with_null(schema) for name, schema in schemas.items()} | {
        component: {**own, "properties": {name: _inner(node) for name, node in own["properties"].items()}}
    }
    try:
        return jsonschema_rs.Draft7Validator(
            {"$ref": f"{_REF}{component}", "components": {"schemas": prepared}}, validate_formats=False
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        log.warning("the model's schema cannot be used, its inputs are not checked: %s", error)
        return None


def _inner(node: Any) -> Any:
    return {key: _with_null(value) for key, value in node.items()} if isinstance(node, dict) else node


def _with_null(node: Any) -> Any:
    """OpenAPI's `nullable` written as JSON Schema understands it."""
    if isinstance(node, list):
        return [_with_null(item) for item in node]
    if not isinstance(node, dict):
        return node
    changed = {key: value if key in ("enum", "default") else _with_null(value) for key, value in node.items()}
    if changed.pop("nullable", False) is not True:
        return changed
    if isinstance(changed.get("type"), str) and "enum" not in changed:
        return {**changed, "type": [changed["type"], "null"]}
    return {"anyOf": [changed, {"type": "null"}]}
