"""A YAML file as a tree that remembers its lines; scalars keep their source text (`3.10` stays `3.10`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from modelyard import errors

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 32
MAX_NODES: Final = 50_000
_FORMAT: Final = 1

Kind = Literal["map", "list", "text", "null"]


@dataclass(frozen=True, slots=True)
class Node:
    """One value. `value`: pairs of key and node of a map, nodes of a list, the source text of anything else.

    `line` counts from 1. `quoted`: the text stood in quotes, so it is a string whatever it looks like.
    """

    kind: Kind
    line: int
    value: Any
    quoted: bool = False

    def items(self) -> Iterator[tuple[str, Node]]:
        """The pairs of a map; nothing for other kinds."""
        if self.kind == "map":
            yield from self.value

    def get(self, name: str) -> Node | None:
        """The value of a key of a map; None where it is missing or null."""
        for key, node in self.items():
            if key == name and node.kind != "null":
                return node
        return None


class YamlError(errors.ModelyardError):
    """The text is no YAML, or not of a kind that is read here; `line` says where."""

    status = 422
    code = "yaml"

    def __init__(self, detail: str, line: int) -> None:
        self.line = line
        super().__init__(detail)


def parse(text: bytes, *, cache: Path | None = None) -> Node:
    """The tree of a YAML document; an empty one is an empty map. Raises YamlError.

    `cache`: a file that holds the tree for as long as the text stays the same. Loading the YAML library takes longer
    than the rest of a command; a cache that cannot be read or written is done without.
    """
    key = f"{_FORMAT}:{hashlib.sha256(text).hexdigest()}"
    kept = _load(cache, key) if cache is not None else None
    if kept is not None:
        return kept
    tree = _parse(text)
    if cache is not None:
        _store(cache, key, tree)
    return tree


def _load(cache: Path, key: str) -> Node | None:
    try:
        found = json.loads(cache.read_bytes())
        return _from_json(found["tree"]) if found["key"] == key else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _store(cache: Path, key: str, tree: Node) -> None:
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_suffix(".tmp")
        partial.write_text(json.dumps({"key": key, "tree": _to_json(tree)}, separators=(",", ":")))
        partial.replace(cache)
    except OSError:
        pass


def _to_json(node: Node) -> list[Any]:
    value = node.value
    if node.kind == "map":
        value = [[key, _to_json(inner)] for key, inner in node.value]
    elif node.kind == "list":
        value = [_to_json(inner) for inner in node.value]
    return [node.kind, node.line, value, node.quoted]


def _from_json(found: list[Any]) -> Node:
    kind, line, value, quoted = found
    if kind == "map":
        value = tuple((key, _from_json(inner)) for key, inner in value)
    elif kind == "list":
        value = tuple(_from_json(inner) for inner in value)
    return Node(kind, line, value, quoted)


def _parse(text: bytes) -> Node:
    from ruamel.yaml import YAML  # late: it takes 0.1 s to load, and the cache mostly makes it unneeded
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    if len(text) > MAX_BYTES:
        raise YamlError(f"it has {len(text)} bytes; at most {MAX_BYTES} are read", 1)
    try:
        root = YAML(typ="safe", pure=True).compose(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise YamlError("it is not UTF-8 text", text.count(b"\n", 0, error.start) + 1) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(_sentence(error), mark.line + 1 if mark else 1) from None
    except (YAMLError, RecursionError, ValueError) as error:
        raise YamlError(str(error).partition("\n")[0], 1) from None
    return Node("map", 1, ()) if root is None else _Reader().read(root, 0)


def _sentence(error: Any) -> str:
    parts = (error.problem, error.context)
    return ", ".join(" ".join(str(part).split()) for part in parts if part)


class _Reader:
    """Turns the library's nodes into ours, within bounds that a file of anchors cannot leave."""

    def __init__(self) -> None:
        self.count = 0

    def read(self, node: Any, depth: int) -> Node:
        line = node.start_mark.line + 1
        self.count += 1
        if depth > MAX_DEPTH or self.count > MAX_NODES:
            raise YamlError("it is nested too deeply, or repeats itself too often", line)
        if node.id == "mapping":
            return Node("map", line, tuple(self._pairs(node, depth)))
        if node.id == "sequence":
            return Node("list", line, tuple(self.read(inner, depth + 1) for inner in node.value))
        quoted = node.style in ("'", '"', "|", ">")
        is_null = not quoted and str(node.value) in ("", "~", "null", "Null", "NULL")
        return Node("null" if is_null else "text", line, str(node.value), quoted)

    def _pairs(self, node: Any, depth: int) -> list[tuple[str, Node]]:
        found: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            name = str(key.value)
            if key.id != "scalar":
                raise YamlError("a key must be text", line)
            read = self.read(value, depth + 1)
            if name == "<<" and key.style is None:
                parts = read.value if read.kind == "list" else (read,)
                for part in parts:
                    merged = {**dict(part.items()), **merged}
            elif name in found:
                raise YamlError(f"the key {name!r} is given twice", line)
            else:
                found[name] = read
        return list({**merged, **found}.items())
