"""Source text that this Python's own parser refuses, read by a newer one: only the tree comes back, nothing is run."""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from modelyard.packaging.schema_source import modules
from modelyard.store import pythons
from modelyard.store.uv import Report

_SCRIPT: Final = Path(__file__).with_name("telling.py")
_SECONDS: Final = 60.0
# Of calls within calls: a long chain of `elif` is one within the other. The teller itself goes no deeper than a third.
_DEPTH: Final = 20_000
_KNOWN: Final = ",".join(
    name for name, kind in vars(ast).items() if isinstance(kind, type) and issubclass(kind, ast.AST)
)


def is_newer(minor: str) -> bool:
    """Whether a Python may have grammar that our own parser does not know; else a mistake is a mistake."""
    return _number(minor) > sys.version_info[:2]


class Newer:
    """Reads the files of a project that is written for the Python minor `wanted`, where our own parser cannot.

    That Python is looked for when the first file needs it; `memory` as in `pythons.find`.
    """

    def __init__(
        self,
        wanted: str,
        environ: Mapping[str, str],
        memory: Path | None = None,
        report: Report | None = None,
    ) -> None:
        self._wanted = wanted
        self._environ = environ
        self._memory = memory
        self._report = report
        self._found: pythons.Interpreter | None = None
        self._trees: dict[bytes, ast.Module] = {}

    def __call__(self, source: bytes, name: str, refused: SyntaxError) -> ast.Module:
        """The tree of `source`, which our parser `refused`. Raises SyntaxError, SchemaError."""
        python = self._python(name, refused)
        key = hashlib.sha256(source).digest()
        if key not in self._trees:
            try:
                self._trees[key] = tree(python.path, source, name)
            except SyntaxError as error:
                if python.minor == python.wanted:
                    raise
                raise self._too_old(python.minor, name, error) from None
        return self._trees[key]

    def _python(self, name: str, refused: SyntaxError) -> pythons.Interpreter:
        if self._found is None:
            self._found = pythons.find(self._wanted, self._environ, memory=self._memory, report=self._report)
        if is_newer(self._found.minor):
            return self._found
        raise self._too_old(f"{sys.version_info.major}.{sys.version_info.minor}", name, refused)

    def _too_old(self, minor: str, name: str, error: SyntaxError) -> modules.SchemaError:
        note = f" (read by Python {minor}; the project is for Python {self._wanted}, which is not on this machine)"
        hint = f"install Python {self._wanted}, for example with `uv python install {self._wanted}`"
        return modules.no_python(name, error, note=note, hint=hint)


def _number(minor: str) -> tuple[int, int]:
    first, _, second = pythons.minor_of(minor).partition(".")
    return int(first), int(second)


def tree(python: Path, source: bytes, name: str) -> ast.Module:
    """The tree of `source` as `python` reads it, in the kinds of nodes that we have. Raises SyntaxError."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, _DEPTH))
    try:
        told = _ask(python, source, name)
        if "tree" in told:
            found: ast.Module = _node(told["tree"])
            return found
    except RecursionError:
        raise SyntaxError("it is nested too deeply to be read") from None
    finally:
        sys.setrecursionlimit(before)
    error = SyntaxError(told["error"])
    error.lineno, error.offset, error.text = told.get("lineno"), told.get("offset"), told.get("text")
    raise error


def _ask(python: Path, source: bytes, name: str) -> dict[str, Any]:
    command = [str(python), "-I", "-S", str(_SCRIPT), name, _KNOWN]
    try:
        done = subprocess.run(command, input=source, capture_output=True, check=True, timeout=_SECONDS)
        told: dict[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return {"error": f"{python} could not read it: {error}"}
    return told


def _node(told: dict[str, Any]) -> Any:
    """A node as our own parser would have made it."""
    kind = getattr(ast, told["_"])
    made = kind(**{name: _value(told.get(name)) for name in kind._fields})
    if "@" in told:
        made.lineno, made.col_offset, made.end_lineno, made.end_col_offset = told["@"]
    return made


def _value(told: Any) -> Any:
    if isinstance(told, list):
        return [_value(item) for item in told]
    if not isinstance(told, dict):
        return told
    match told.get("="):
        case None:
            return _node(told)
        case "bytes":
            return bytes.fromhex(told["v"])
        case "complex":
            return complex(*told["v"])
        case "int":
            return int(told["v"], 16)
    return ...
