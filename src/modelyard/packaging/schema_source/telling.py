"""Reads source text from standard input and prints its tree as JSON, for a Python that does not know its grammar.

`python telling.py NAME KNOWN`: run by a newer Python than the one that asks, with nothing of ours beside it. `KNOWN`
are the kinds of nodes that the asker has; what it has not is told in its words, or as the text that it is.
"""

from __future__ import annotations

import ast
import json
import sys
from typing import Any

_DIGITS = 4000  # a longer number would be refused as decimal text


class Teller:
    """One file."""

    def __init__(self, source: bytes, known: frozenset[str]) -> None:
        self._source = source
        self._known = known

    def tell(self, value: Any) -> Any:
        """A node, a list or a value in JSON: nodes have their kind under `_` and their place under `@`."""
        if isinstance(value, ast.AST):
            return self._node(value)
        if isinstance(value, list):
            return [self.tell(item) for item in value]
        return _constant(value)

    def _node(self, node: ast.AST) -> dict[str, Any]:
        kind = type(node).__name__
        told: dict[str, Any] = {"_": kind}
        if hasattr(node, "lineno"):
            told["@"] = [getattr(node, f"{end}{part}") for end in ("", "end_") for part in ("lineno", "col_offset")]
        if kind in self._known:
            return told | {name: self.tell(value) for name, value in ast.iter_fields(node)}
        if kind == "TypeAlias":  # `type X = ...` binds a name as `X = ...` does
            name, value = getattr(node, "name"), getattr(node, "value")  # noqa: B009 - not known to every Python
            name.ctx = ast.Store()
            return told | {"_": "Assign", "targets": [self.tell(name)], "value": self.tell(value)}
        if isinstance(node, ast.stmt):
            return told | {"_": "Pass"}
        # Where it matters it is quoted to people, so a name that says what it is does as well as any.
        text = ast.get_source_segment(self._source.decode("utf-8", "replace"), node) if "@" in told else None
        return told | {"_": "Name", "id": text or kind, "ctx": {"_": "Load"}}


def _constant(value: Any) -> Any:
    if value is ...:
        return {"=": "..."}
    if isinstance(value, bytes):
        return {"=": "bytes", "v": value.hex()}
    if isinstance(value, complex):
        return {"=": "complex", "v": [value.real, value.imag]}
    if isinstance(value, int) and abs(value).bit_length() > _DIGITS:
        return {"=": "int", "v": hex(value)}
    return value


def main() -> None:
    name, known = sys.argv[1], frozenset(sys.argv[2].split(","))
    source = sys.stdin.buffer.read()
    sys.setrecursionlimit(20_000)
    try:
        told = {"tree": Teller(source, known).tell(ast.parse(source, name))}
        text = json.dumps(told)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        facts = {fact: getattr(error, fact, None) for fact in ("lineno", "offset", "text")}
        text = json.dumps({"error": getattr(error, "msg", None) or str(error), **facts})
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
