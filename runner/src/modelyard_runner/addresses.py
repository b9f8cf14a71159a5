"""Strings that stand for the bytes of a file: which they are, and how their base64 is read. Both halves use it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def is_remote(value: str) -> bool:
    """Whether a string says where bytes are to be fetched."""
    head = value[:8].lower()
    return head.startswith(("http://", "https://", "data:"))


def texts(value: Any) -> Iterator[str]:
    """The strings in a value, wherever they stand."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts(inner)


def lenient_base64(text: str) -> bytes:
    """Percent-encoded, URL-safe, unpadded or folded base64, as some callers write it. Raises ValueError."""
    import base64  # few need it
    from urllib.parse import unquote_to_bytes

    plain = unquote_to_bytes(text).translate(bytes.maketrans(b"-_", b"+/"), b" \r\n\t").rstrip(b"=")
    return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
