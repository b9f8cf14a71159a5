"""Files that come inside an input, as data URLs: decoded once, put beside the link, and named to the worker.

In the input a short data URL of the same type stands for each, so that the worker gives its file the right ending.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
import pybase64

from modelyard_runner import envelope
from modelyard_runner.addresses import is_remote, lenient_base64, texts

# Shorter ones are left for the worker to decode: a file would cost more.
MIN_LENGTH = 4096
NO_PATHS = (
    "is no http, https or data URL; this server listens for others, and lets them name no files of its machine."
    " hint: send a data URL, or start it with --local-paths"
)
# Characters of what came that a message shows.
MAX_SHOWN = 100


def data_length(values: dict[str, Any], names: Iterable[str]) -> int:
    """Characters of the data URLs worth a file that file inputs hold."""
    found = (value for name in names if name in values for value in _each(values[name]) if _is_data(value))
    return sum(map(len, found))


def check(values: dict[str, Any], names: Iterable[str], *, local_paths: bool) -> None:
    """Refuses file inputs that cannot be had: short data URLs without data, and where asked for, paths of this machine.

    Raises RequestError. What `take` decodes it checks itself, and a URL shows when it is fetched.
    """
    for name in names:
        for value in texts(values.get(name)):
            if not is_remote(value):
                if not local_paths:
                    raise _wrong(name, value, NO_PATHS)
            elif len(value) < MIN_LENGTH and value[:5].lower() == "data:":
                _decode(value, name)


def _wrong(name: str, value: str, why: str) -> envelope.RequestError:
    shown = msgspec.json.encode(value[:MAX_SHOWN] + ("…" if len(value) > MAX_SHOWN else "")).decode()
    return envelope.invalid([(["body", "input", name], f"{shown} {why}", "value_error")])


def take(values: dict[str, Any], names: Iterable[str], folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The input with short names for its data URLs, and the path of the bytes behind each.

    Raises RequestError for what is no data URL, OSError when a file cannot be written.
    """
    paths: dict[str, str] = {}
    taken = {name: _replace(values[name], name, folder, paths) for name in names if name in values}
    return {**values, **taken}, paths


def encode(values: dict[str, Any]) -> bytes:
    """The JSON of values that were read from JSON."""
    try:
        return msgspec.json.encode(values)
    except OverflowError:  # integers of more than 64 bits
        return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()


def _each(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_data(value: Any) -> bool:
    return isinstance(value, str) and len(value) >= MIN_LENGTH and value[:5].lower() == "data:"


def _replace(value: Any, name: str, folder: Path, paths: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_replace(item, name, folder, paths) for item in value]
    if not _is_data(value):
        return value
    head, data = _decode(value, name)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / str(len(paths))
    path.write_bytes(data)
    short = f"{head},{len(paths)}"
    paths[short] = str(path)
    return short


def _decode(url: str, name: str) -> tuple[str, bytes]:
    head, comma, data = url.partition(",")
    try:
        if not comma:
            raise ValueError("it has no comma")
        if head.lower().endswith(";base64"):
            try:
                return head[: -len(";base64")], pybase64.b64decode(data, validate=True)
            except binascii.Error:
                return head[: -len(";base64")], lenient_base64(data)
        return head, unquote_to_bytes(data)
    except ValueError as error:
        raise _wrong(name, url, f"is not a data URL that can be decoded: {error}") from None
