"""Styles and scripts: read once, told apart by what is in them, kept by browsers for ever."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from modelyard import errors

FOLDER = Path(__file__).parent / "static"
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent, plain and compressed."""

    content_type: str
    plain: bytes
    packed: bytes


@cache
def load() -> tuple[str, dict[str, Asset]]:
    """All of them by name, and one word for their whole content, which stands in their addresses.

    One word for all: a script names the others by their plain names, and finds them beside itself.
    """
    digest = hashlib.sha256()
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.suffix not in _TYPES:
            continue
        name, body = path.relative_to(FOLDER).as_posix(), path.read_bytes()
        digest.update(name.encode() + b"\0" + body)
        found[name] = Asset(_TYPES[path.suffix], body, gzip.compress(body, 9, mtime=0))
    return digest.hexdigest()[:12], found


def address(name: str) -> str:
    """Where a page finds an asset. Raises KeyError for one that is not there."""
    digest, found = load()
    found[name]
    return f"/static/{digest}/{name}"


async def get(request: Request) -> Response:
    """`GET /static/{digest}/{name}`. Raises NotFound."""
    digest, found = load()
    asset = found.get(request.path_params["name"])
    if asset is None:
        raise errors.NotFound("There is no such file.")
    # A page of a yard that was upgraded meanwhile asks for what was: it gets what is, and nobody keeps that.
    known = request.path_params["digest"] == digest
    headers = {
        "cache-control": "public, max-age=31536000, immutable" if known else "no-store",
        "x-content-type-options": "nosniff",
        "vary": "accept-encoding",
    }
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        return Response(asset.packed, media_type=asset.content_type, headers=headers)
    return Response(asset.plain, media_type=asset.content_type, headers=headers)
