"""What a model returns, as JSON and files: the way out of the bytes at the border.

Plain values go through the C encoder in one step. Whatever JSON does not have comes to `_plain`, one object at a
time: files are copied beside the link (a model may write to the same path again a moment later) and leave a
reference, numbers of other libraries become numbers, and what has no meaning for a caller is refused with the
place where it stands.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any

from cog.plain import NotJsonError, plain
from modelyard_runner.folder import Folder, copy_file
from modelyard_runner.link import quote
from modelyard_runner.media import content_type

File = dict[str, Any]

_REFERENCE = f"modelyard-file-{os.urandom(6).hex()}-"


class OutputError(Exception):
    """A value that cannot be a prediction's output. The text says where it stands and what is wanted."""


class Encoder:
    """Encodes the outputs of one prediction."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._files: list[File] = []
        self._count = 0
        self._encode: Callable[[Any], str] | None = None

    def encode(self, value: Any) -> tuple[str, list[File]]:
        """JSON text of a value and the files that it mentions. Raises OutputError; OSError when a copy fails."""
        kind = type(value)
        if kind is str:
            return quote(value), []
        if value is None:
            return "null", []
        if self._encode is None:
            self._encode = json.JSONEncoder(
                ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=self._plain
            ).encode
        self._files = []
        try:
            return self._encode(value), self._files
        except (ValueError, TypeError, RecursionError) as error:
            place = _find_fault(value, self._plain_quietly)
            raise OutputError(place or f"the output cannot be written as JSON: {error}") from error

    # Each of these gives a JSON value, or something nearer to one ----------------------------------------------

    def _plain(self, value: Any) -> Any:
        if isinstance(value, os.PathLike):
            return self._path(os.fspath(value))
        if hasattr(value, "get_secret_value"):
            return "**********" if value.get_secret_value() else ""
        if hasattr(value, "read") and callable(value.read):
            return self._open_file(value)
        return plain(value)

    def _plain_quietly(self, value: Any) -> Any:
        """As `_plain`, without files: to find the place of a fault the second time round."""
        if isinstance(value, os.PathLike) or hasattr(value, "read") or hasattr(value, "get_secret_value"):
            return ""
        return plain(value)

    def _path(self, path: str | bytes) -> str:
        path = os.fsdecode(path)
        if os.path.isdir(path):  # noqa: PTH112
            raise OutputError(f"output {path!r} is a directory; return a file, or a list of files")
        if not os.path.isfile(path):  # noqa: PTH113
            raise OutputError(f"output file {path!r} does not exist")
        name = PurePath(path).name
        target = self._folder.new("outputs", name)
        try:
            size = copy_file(path, target)
        except OSError as error:
            raise OutputError(f"output file {path!r} cannot be copied: {error.strerror or error}") from error
        return self._refer(target, name, size)

    def _open_file(self, file: Any) -> str:
        if hasattr(file, "flush") and not getattr(file, "closed", False):
            file.flush()
        name = getattr(file, "name", None)
        if isinstance(name, str) and os.path.isfile(name):  # noqa: PTH113
            return self._path(name)
        if getattr(file, "closed", False):
            raise OutputError("an output file object is closed and was never a file on disk")
        if hasattr(file, "seek") and (not hasattr(file, "seekable") or file.seekable()):
            file.seek(0)
        data = file.read()
        name = PurePath(name).name if isinstance(name, str) and name else "output"
        target = self._folder.new("outputs", name)
        size = 0
        with open(target, "wb") as writer:  # noqa: PTH123
            while data:
                size += writer.write(data.encode() if isinstance(data, str) else data)
                data = file.read()
        return self._refer(target, name, size)

    def _refer(self, path: str, name: str, size: int) -> str:
        reference = f"{_REFERENCE}{self._count}"
        self._count += 1
        self._files.append(
            {"ref": reference, "path": path, "name": name, "content_type": content_type(name), "size": size}
        )
        return reference


def _find_fault(value: Any, nearer: Callable[[Any], Any], place: str = "output", depth: int = 0) -> str | None:
    """Where in a value stands what JSON does not have, and what it is."""
    if depth > 100:
        return f"{place} is nested too deeply, or contains itself"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{place} is {float(value)}, which JSON does not have"
    if value is None or isinstance(value, (str, int, float)):
        return None
    for part, inner in _parts(value, place, nearer):
        if isinstance(inner, NotJsonError):
            return f"{part}: {inner}"
        fault = _find_fault(inner, nearer, part, depth + 1)
        if fault:
            return fault
    return None


def _parts(value: Any, place: str, nearer: Callable[[Any], Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not (key is None or isinstance(key, (str, int, float))):
                yield place, NotJsonError(f"a key of type {type(key).__name__}; JSON has only texts as keys")
            yield f"{place}.{key}", inner
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            yield f"{place}[{number}]", inner
    else:
        try:
            yield place, nearer(value)
        except NotJsonError as error:
            yield place, error
