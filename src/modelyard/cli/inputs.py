"""From `-i name=value` and `--json` to a checked input, before anything is built or started.

The rules and the words are Cog's (docs/guides/run.md), but for what only a surprise could want: one `-i` for a list is
a list of one, large numbers keep their digits, a file for an object is read as JSON.
"""

from __future__ import annotations

import contextlib
import json
import math
import mimetypes
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema_rs

from modelyard.cli import media_types
from modelyard.errors import UsageError
from modelyard.models import interface

_REF = "#/components/schemas/"
_INTEGER = re.compile(r"[+-]?\d+")
_ADDRESS = re.compile(r"(?:https?://[^\s/?#]|data:|file:///)", re.IGNORECASE)

# Of a union's alternatives the one that says most of a text is tried first; any text is a string.
_ORDER = {"boolean": 0, "integer": 1, "number": 2, "object": 3, "array": 4, "string": 5}

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """An input that the model takes. `files`: for strings in `values`, the absolute path that holds their bytes."""

    values: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


def parse(document: Schema, pairs: Sequence[str], json_text: str | None, cwd: Path) -> Given:
    """The input that a command line means, for the model whose OpenAPI document this is.

    `pairs`: what followed each `-i`; `json_text`: what followed `--json`. Raises UsageError with every fault found.
    """
    if pairs and json_text is not None:
        raise UsageError("Must use one of --json or --input to provide model inputs")
    reader = _Reader(document, cwd)
    given = reader.from_json(json_text) if json_text is not None else reader.from_pairs(pairs)
    _check(document, given.values, reader)
    return given


def placed(given: Given, place: Callable[[str], str]) -> dict[str, Any]:
    """The input with other words where those stood that files go by: `place` is given the file's path."""

    def of(value: Any) -> Any:
        if isinstance(value, str):
            return place(given.files[value]) if value in given.files else value
        if isinstance(value, list):
            return [of(item) for item in value]
        return {key: of(item) for key, item in value.items()} if isinstance(value, dict) else value

    return {name: of(value) for name, value in given.values.items()}


def of_training(document: Schema) -> dict[str, Any]:
    """The document of a training with its input under the name that a run's has."""
    schemas = document["components"]["schemas"]
    wanted = schemas.get("TrainingInput", schemas.get("Input"))
    return {**document, "components": {"schemas": {**schemas, "Input": wanted}}}


class _Reader:
    def __init__(self, document: Schema, cwd: Path) -> None:
        self._schemas: Schema = document["components"]["schemas"]
        self._cwd = cwd
        self._files: dict[str, str] = {}
        # What is wrong with names and files, and the inputs that have no value for that.
        self.faults: list[str] = []
        self.without: set[str] = set()

    def from_pairs(self, pairs: Sequence[str]) -> Given:
        texts: dict[str, list[str]] = {}
        for pair in pairs:
            name, equals, text = pair.partition("=")
            if not equals or not name:
                raise UsageError(f"Failed to parse input '{pair}', expected format is 'name=value'")
            if len(text) > 1 and text[0] == text[-1] == '"':
                text = text[1:-1]
            texts.setdefault(name, []).append(text)
        values = {}
        for name in self._known(texts, lambda texts: any(text.startswith("@") for text in texts)):
            with self._faults_of(name):
                values[name] = self._value(name, texts[name])
        return Given(values=values, files=self._files)

    def from_json(self, text: str) -> Given:
        found = _read_json(text, self._cwd)
        if not isinstance(found, dict):
            raise UsageError(
                "Failed to parse JSON: an object is wanted", hint='for example --json \'{"text": "world"}\''
            )
        values = {}
        for name in self._known(found, _names_file):
            value = found[name]
            with self._faults_of(name):
                values[name] = self._file(name, value, self._property(name)) if _names_file(value) else value
        return Given(values=values, files=self._files)

    def _known(self, given: Mapping[str, Any], reads: Callable[[Any], bool]) -> list[str]:
        """Those that the model has. Others are a fault, and then no file is read."""
        known = list(self._schemas["Input"].get("properties") or {})
        unknown = [f'"{name}"' for name in given if name not in known]
        if not unknown:
            return list(given)
        offered = f"valid inputs are: {', '.join(known)}" if known else "this model takes no inputs"
        self.faults.append(f"unknown input{'s' * (len(unknown) > 1)} {', '.join(unknown)}; {offered}")
        self.without |= {name for name in given if name in known and reads(given[name])}
        return [name for name in given if name in known and name not in self.without]

    @contextlib.contextmanager
    def _faults_of(self, name: str) -> Iterator[None]:
        try:
            yield
        except UsageError as error:
            self.faults.append(error.detail)
            self.without.add(name)

    def _property(self, name: str) -> Schema:
        node: Schema = self._schemas["Input"]["properties"][name]
        return node

    def _value(self, name: str, texts: list[str]) -> Any:
        node = self._property(name)
        if len(texts) == 1:
            return self._coerced(name, texts[0], node)
        parts = list(self._parts(node))
        if all(part.get("type") not in (None, "array") for part in parts):
            raise UsageError(f'invalid input "{name}": "{name}" is given twice, and takes one value')
        items = next((part["items"] for part in parts if "items" in part), {"type": "string"})
        return [self._coerced(name, text, items) for text in texts]

    def _coerced(self, name: str, text: str, node: Schema) -> Any:
        parts = sorted(self._parts(node), key=lambda part: _ORDER.get(str(part.get("type")), len(_ORDER)))
        candidates = [value for part in parts for value in self._candidates(name, text, part)]
        if len(parts) > 1:
            for value in candidates:
                if self._fits(value, node):
                    return value
        return candidates[0] if candidates else self._plain(name, text, node)

    def _parts(self, node: Schema) -> Iterator[Schema]:
        """What a value may be: the schema itself, or the alternatives of a union, references followed."""
        if "$ref" in node:
            yield from self._parts(self._schemas[str(node["$ref"]).removeprefix(_REF)])
            return
        combined = [*node.get("allOf", ()), *node.get("anyOf", ())]
        for part in combined:
            yield from self._parts(part)
        if not combined:
            yield node

    def _candidates(self, name: str, text: str, part: Schema) -> Iterator[Any]:
        kind = part.get("type")
        if kind == "array":
            listed = _json_or_none(text)
            items = part.get("items") or {}
            yield listed if isinstance(listed, list) else [self._coerced(name, text, items)]
        elif kind == "object":
            whole = self._text_of(name, text) if text.startswith("@") else text
            value = _json_or_none(whole)
            yield whole if value is None else value
        elif kind == "string" or kind is None:
            yield self._plain(name, text, part)
        else:
            value = _scalar(text, kind)
            if value is not None:
                yield value

    def _plain(self, name: str, text: str, part: Schema) -> str:
        return self._file(name, text, part) if text.startswith("@") else text

    def _fits(self, value: Any, node: Schema) -> bool:
        schema = interface.read(
            {"components": {"schemas": {**self._schemas, "Input": {"properties": {"x": node}, "required": ["x"]}}}}
        ).schema
        return bool(jsonschema_rs.is_valid(dict(schema or {}), {"x": value}))

    def _file(self, name: str, text: str, part: Schema) -> str:
        """`@path`: an address that stands for the file where the model takes files, else its bytes as a data URL."""
        path = self._existing(name, text)
        if any(_takes_file(inner) for inner in self._parts(part)):
            self._files[path.as_uri()] = str(path)
            return path.as_uri()
        kind = media_types.of_name(path.name) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return media_types.data_url(kind, self._read(name, path))

    def _text_of(self, name: str, text: str) -> str:
        return self._read(name, self._existing(name, text)).decode("utf-8", "replace")

    def _existing(self, name: str, text: str) -> Path:
        path = (self._cwd / Path(text[1:]).expanduser()).resolve()
        if path.is_file():
            return path
        reason = "it is a folder" if path.is_dir() else "there is no such file"
        raise UsageError(f'input "{name}": failed to read file "{text[1:]}": {reason}')

    def _read(self, name: str, path: Path) -> bytes:
        return _bytes_of(path, f'input "{name}": failed to read file "{path}"')


def _names_file(value: object) -> bool:
    return isinstance(value, str) and value.startswith("@")


def _takes_file(part: Schema) -> bool:
    return part.get("format") == "uri" or (part.get("items") or {}).get("format") == "uri"


def _scalar(text: str, kind: object) -> Any:
    """The boolean or number that the text writes, None when it writes none."""
    if kind == "boolean":
        return {"true": True, "false": False}.get(text.lower())
    if _INTEGER.fullmatch(text):
        return int(text)
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _json_or_none(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _read_json(text: str, cwd: Path) -> Any:
    if text in ("-", "@-"):
        text = sys.stdin.read()
    elif text.startswith("@"):
        path = cwd / Path(text[1:]).expanduser()
        text = _bytes_of(path, f'Failed to read JSON from file "{text[1:]}"').decode("utf-8", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"Failed to parse JSON: {error}") from None


def _bytes_of(path: Path, failed: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{failed}: {error.strerror or error}") from None


# -- checking


def _check(document: Schema, values: Mapping[str, Any], reader: _Reader) -> None:
    """Raises UsageError with what is wrong with the values, and what their reader found."""
    schema = interface.read(document).schema
    if schema is None:
        raise UsageError("OpenAPI schema is missing Input component")
    validator = jsonschema_rs.Draft7Validator(
        dict(schema), formats={"uri": _is_address}, validate_formats=True, ignore_unknown_formats=True
    )
    errors = [error for error in validator.iter_errors(dict(values)) if _missing(error) not in reader.without]
    faults: list[tuple[str, str | None]] = [(text, None) for text in reader.faults]
    faults += [_fault(error) for error in errors]
    if not faults:
        return
    hint = next((hint for _, hint in faults if hint), None)
    said = [text for text, _ in faults]
    whole = said[0] if len(said) == 1 else "\n- ".join(["input validation failed:", *said])
    raise UsageError(whole, hint=hint)


def _missing(error: jsonschema_rs.ValidationError) -> str | None:
    """The input that is not given, where that is the fault."""
    return str(error.kind.as_dict()["property"]) if error.kind.name == "required" else None


def _is_address(text: str) -> bool:
    return _ADDRESS.match(text) is not None


Facts = Mapping[str, Any]

_SAID: dict[str, Callable[[Facts], str]] = {
    "minimum": lambda facts: f"number must be at least {facts['limit']}",
    "maximum": lambda facts: f"number must be at most {facts['limit']}",
    "minLength": lambda facts: f"minimum string length is {facts['limit']}",
    "maxLength": lambda facts: f"maximum string length is {facts['limit']}",
    "pattern": lambda facts: f'string doesn\'t match the regular expression "{facts["pattern"]}"',
    "enum": lambda facts: f"must be one of: {', '.join(map(str, facts['options']))}",
}


def _fault(error: jsonschema_rs.ValidationError) -> tuple[str, str | None]:
    """What is wrong in words, and what to try."""
    kind = error.kind.name
    facts = error.kind.as_dict()
    if kind == "required":
        return f'missing required input "{facts["property"]}"', f"-i {facts['property']}=…"
    name = ".".join(map(str, error.instance_path))
    alternatives = _alternatives(error) if kind in ("anyOf", "oneOf") else []
    if len(alternatives) == 1:
        return _fault(alternatives[0])
    if error.instance is None:
        return f'invalid input "{name}": must not be null (omit the input to use its default)', None
    if kind == "format" and isinstance(error.instance, str):
        return f'invalid input "{name}": expected a file or an address, got "{error.instance}"', _try_file(name, error)
    if alternatives or kind == "type":
        types = [wanted for each in alternatives or [error] for wanted in each.kind.as_dict().get("types", ())]
        expected = " or ".join(dict.fromkeys(each for each in types if each != "null")) or "something else"
        return f'invalid input "{name}": expected {expected}, got {_type_of(error.instance)}', None
    said = _SAID[kind](facts) if kind in _SAID else error.message
    return f'invalid input "{name}": {said}', None


def _alternatives(error: jsonschema_rs.ValidationError) -> list[jsonschema_rs.ValidationError]:
    """What each alternative but null has against the value."""
    branches = error.kind.as_dict().get("context") or []
    firsts = [branch[0] for branch in branches if branch]
    return [first for first in firsts if first.kind.as_dict().get("types") != ["null"]]


def _try_file(name: str, error: jsonschema_rs.ValidationError) -> str:
    return f"put @ before the name of a file: -i {name.partition('.')[0]}=@{error.instance}"


def _type_of(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")
