"""Files that come inside an input, as data URLs: decoded once, put beside the link, and named to the worker.

In the input a short data URL of the same type stands for each, so that the worker gives its file the right ending.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from modelyard_runner import envelope

# Shorter ones are left for the worker to decode: a file would cost more.
MIN_LENGTH = 4096

_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.encode


def has_data(values: dict[str, Any], names: Iterable[str]) -> bool:
    """Whether a file input holds a data URL worth a file."""
    return any(_is_data(value) for name in names if name in values for value in _each(values[name]))


def take(raw: bytes, values: dict[str, Any], names: Iterable[str], folder: Path) -> tuple[bytes, dict[str, str]]:
    """The input with short names for its data URLs, and the path of the bytes behind each. The rest stays as it came.

    Raises RequestError for what is no data URL, OSError when a file cannot be written.
    """
    pieces = _decode_raw(raw)
    paths: dict[str, str] = {}
    for name in names:
        if name in values and any(map(_is_data, _each(values[name]))):
            pieces[name] = msgspec.Raw(_encode(_replace(values[name], name, folder, paths)))
    return _encode(pieces), paths


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
                return head[: -len(";base64")], base64.b64decode(data, validate=True)
            except binascii.Error:
                return head[: -len(";base64")], _lenient(data)
        return head, unquote_to_bytes(data)
    except ValueError as error:
        said = f"not a data URL that can be decoded: {error}"
        raise envelope.invalid([(["body", "input", name], said, "value_error")]) from None


def _lenient(data: str) -> bytes:
    """Percent-encoded, URL-safe or unpadded base64, as some callers write it."""
    plain = unquote_to_bytes(data).translate(bytes.maketrans(b"-_", b"+/"), b" \r\n\t").rstrip(b"=")
    return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
