"""What is read from requests to the registry: who asks, digests, ranges, bodies. Each refuses with a sentence."""

from __future__ import annotations

import base64
import binascii
import re

from starlette.requests import Request

from modelyard import errors
from modelyard.oci import manifest as oci
from modelyard.registry import problems

_BYTES = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_PIECE = re.compile(r"(?:bytes )?(\d{1,18})-(\d{1,18})")
_SCHEMES = ("bearer", "token")


def bearer(header: str) -> bytes:
    """An `Authorization` header as the rest of the yard reads it: of Basic, the password is the token."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "basic":
        # What else signs in is for browsers, and no tool that pushes is one.
        return header.encode("latin-1", "replace") if scheme.lower() in _SCHEMES else b""
    try:
        _, _, password = base64.b64decode(rest.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return b"Bearer "
    return b"Bearer " + password


def digest_in(text: str) -> str:
    """The digest, if it is one. Raises DigestInvalidError."""
    if not oci.is_digest(text):
        raise problems.DigestInvalidError(f"{text[:150]!r} is no digest: sha256: and 64 hexadecimal digits are wanted")
    return text


def byte_range(header: str | None, size: int) -> tuple[int, int, int]:
    """Start, end (exclusive) and status for a `Range` header; what is no single range of bytes asks for everything."""
    match = _BYTES.fullmatch(header.strip()) if header else None
    if match is None or not any(match.groups()):
        return 0, size, 200
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start, end = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
    if start >= end:
        raise problems.RangeInvalidError(
            f"the range {header} is not in {size} bytes", {"Content-Range": f"bytes */{size}"}
        )
    return start, end, 206


def piece_start(header: str | None) -> int | None:
    """Where a piece of an upload begins, if `Content-Range` says so."""
    if header is None:
        return None
    match = _PIECE.fullmatch(header.strip())
    if match is None:
        raise problems.RangeInvalidError(f"Content-Range {header[:100]!r}: one like 0-1023 is wanted")
    return int(match[1])


async def read_body(request: Request, limit: int) -> bytes:
    """A body that must not be longer. Raises TooLarge."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise errors.TooLarge(f"A manifest may have {limit} bytes.")
    return bytes(body)
