"""Reads the schemas of models by reflection, as a worker does: `python reflect.py FOLDER FILE…` prints JSON by file.

Where a schema is refused, `{"refused": text}` stands instead; where a package is not installed,
`{"needs": name}`. Without files it answers lines of standard input, `{"file": name, "inputs": [...]}`, with what the
file's schema is and what becomes of each input. Run as a script in a process of its own.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cog
from cog import reflection, shapes
from modelyard_runner import loader
from modelyard_runner.folder import Folder
from modelyard_runner.media import InputError, Inputs


def main() -> None:
    warnings.simplefilter("ignore")
    folder = Path(sys.argv[1])
    if len(sys.argv) == 2:
        for line in sys.stdin:
            asked = json.loads(line)
            print(json.dumps(_answer(folder, asked["file"], asked["inputs"])), flush=True)
        return
    print(json.dumps({file: _answer(folder, file, ())["schema"] for file in sys.argv[2:]}))


def _answer(folder: Path, file: str, inputs: Any) -> dict[str, Any]:
    try:
        model = loader.load(f"{file}:{_name(folder / file)}", folder)
        found = model.schema()
    except ValueError as error:
        return {"schema": {"refused": str(error)}, "inputs": []}
    except ModuleNotFoundError as error:
        return {"schema": {"needs": error.name}, "inputs": []}
    if not inputs:
        return {"schema": found, "inputs": []}
    assert model.run is not None
    fields = reflection.signature(model.run.call, strict=True).fields
    convert = Inputs(model.run.signature, _fetched)
    return {"schema": found, "inputs": [_given(convert, fields, values, folder) for values in inputs]}


def _given(convert: Inputs, fields: tuple[shapes.Field, ...], values: dict[str, Any], folder: Path) -> list[str]:
    """What is wrong with an input, judged by what the function would receive: nothing where it is right."""
    try:
        arguments = convert.arguments(values, {}, Folder(str(folder / "scratch"), f"p{next(_NUMBERS)}"))
    except InputError as error:
        return [str(error)]
    for field in fields:
        if field.name not in values:
            continue
        received = arguments[field.name]
        sent = values[field.name] if field.kind in ("path", "file", "secret") else received
        if sent is None and not field.optional:
            return [f"{field.name}: None"]
        try:  # a value that may be given is one that could be the parameter's default
            shapes.check_input(dataclasses.replace(field, has_default=True, default=shapes.plain(sent)))
        except shapes.SchemaError as error:
            return [str(error)]
        assert _is_a(field.type, received), f"{field.name} is {field.type} and received {received!r}"
    return []


_NUMBERS = itertools.count()
_CLASSES = {"str": str, "int": int, "float": float, "bool": bool, "path": cog.Path, "secret": cog.Secret, "dict": dict}


def _is_a(wanted: shapes.Type, value: Any) -> bool:
    if value is None:
        return wanted.optional or wanted.kind == "any"
    if wanted.kind == "list":
        return isinstance(value, list) and all(_is_a(wanted.item or shapes.ANY, item) for item in value)
    if wanted.kind == "file":
        return bool(value.readable())
    if wanted.enumeration is not None:
        return type(value) is wanted.enumeration
    return type(value) is _CLASSES.get(wanted.kind, type(value))


def _fetched(_: str, new_path: Callable[[str], str]) -> str:
    path = new_path("file")
    Path(path).touch()
    return path


def _name(path: Path) -> str:
    text = path.read_text()
    return next(name for name in ("Runner", "Predictor", "run") if f"class {name}" in text or f"def {name}(" in text)


main()
