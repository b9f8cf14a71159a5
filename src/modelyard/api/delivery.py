"""Bytes of blobs as responses, and output links: addresses that nobody can guess and that need no token.

What a model made is not to be trusted: only types that browsers do not execute are shown in place, all else downloads.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from modelyard import errors, rest
from modelyard.api.base import Deps
from modelyard.blobs.base import Blobs, Stat

_SHOWN = re.compile(r"(?:image/(?!svg)|audio/|video/|text/plain|text/csv|application/(?:json|pdf)$)")
_RANGE = re.compile(rb"bytes=(\d{0,18})-(\d{0,18})")
_ASCII_NAME = re.compile(r"[^A-Za-z0-9._ -]")
# Types that the system's table may lack or name differently from machine to machine.
_TYPES = {
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".jsonl": "application/jsonl",
    ".md": "text/markdown",
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".glb": "model/gltf-binary",
    ".safetensors": "application/octet-stream",
}


def type_of(name: str) -> str:
    """The content type that a file's name tells."""
    known = _TYPES.get(Path(name).suffix.lower())
    return known or mimetypes.guess_type(name)[0] or "application/octet-stream"


def how_shown(content_type: str) -> str:
    """`inline` for what a browser shows without executing it, else `attachment`."""
    return "inline" if _SHOWN.match(content_type) else "attachment"


def disposition(name: str, content_type: str) -> str:
    """The `Content-Disposition` of a file: shown in place only where that is harmless."""
    how = how_shown(content_type)
    plain = _ASCII_NAME.sub("_", name)
    extended = "" if plain == name else f"; filename*=UTF-8''{quote(name)}"
    return f'{how}; filename="{plain}"{extended}'


class BlobResponse(Response):
    """The bytes of a blob, whole or a range."""

    def __init__(self, blobs: Blobs, stat: Stat, headers: list[tuple[bytes, bytes]]) -> None:
        super().__init__()
        self._blobs = blobs
        self._stat = stat
        self._fields = headers

    @classmethod
    async def make(cls, blobs: Blobs, key: str, name: str, content_type: str, *, private: bool = False) -> BlobResponse:
        """Raises NotFound when the blob is gone."""
        stat = await blobs.stat(key)
        if stat is None:
            raise errors.NotFound("This file is not here any more.")
        shown = f"{content_type}; charset=utf-8" if content_type.startswith("text/") else content_type
        headers = [
            (b"content-type", shown.encode()),
            (b"content-disposition", disposition(name, content_type).encode("latin-1")),
            (b"x-content-type-options", b"nosniff"),
            (b"cross-origin-resource-policy", b"cross-origin"),
            (b"accept-ranges", b"bytes"),
            (b"access-control-allow-origin", b"*"),
            rest.NO_STORE if private else (b"cache-control", b"public, max-age=3600"),
        ]
        if how_shown(content_type) == "attachment":
            headers.append((b"content-security-policy", b"sandbox; default-src 'none'"))
        return cls(blobs, stat, headers)

    async def __call__(self, scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
        """Answer."""
        size = self._stat.size
        etag = f'"{self._stat.key.rpartition("/")[0]}-{size}"'.replace("/", "-").encode()
        self._fields.append((b"etag", etag))
        if etag in [tag.strip() for tag in rest.header(scope, b"if-none-match").split(b",")]:
            await rest.reply(scope, send, 304, self._fields, b"")
            return
        wanted = rest.header(scope, b"range")
        if rest.header(scope, b"if-range") not in (b"", etag):
            wanted = b""
        span = parse_range(wanted, size)
        if span is None:
            self._fields = [(b"content-range", b"bytes */%d" % size), (b"content-type", rest.PROBLEM_TYPE)]
            body = rest.problem_body(_Unsatisfiable(f"The range {wanted[:100]!r} is outside of the file."))
            await rest.reply(scope, send, 416, self._fields, body)
            return
        start, end = span
        status = 206 if wanted and (start, end) != (0, size) else 200
        if status == 206:
            self._fields.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, size)))
        self._fields.append((b"content-length", b"%d" % (end - start)))
        await send({"type": "http.response.start", "status": status, "headers": self._fields})
        if scope["method"] != "HEAD" and end > start:
            await _send_all(send, await self._blobs.open(self._stat.key, start, end))
        await send({"type": "http.response.body", "body": b""})


class _Unsatisfiable(errors.BadRequest):
    status = 416
    code = "range_not_satisfiable"
    title = "Range not satisfiable"


async def _send_all(send: rest.Send, pieces: AsyncIterator[bytes]) -> None:
    async for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})


def parse_range(header: bytes, size: int) -> tuple[int, int] | None:
    """The (start, end) of a `Range` header; the whole without one or with one of several ranges; None outside."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.group() == b"bytes=-":
        return 0, size
    first, last = match.groups()
    if not first:
        length = int(last)
        return (max(0, size - length), size) if length and size else None
    start = int(first)
    end = min(int(last) + 1, size) if last else size
    if last and int(last) < start:
        return 0, size
    return (start, end) if start < size else None


async def output(deps: Deps, request: Request) -> Response:
    """`GET /outputs/{prediction_id}/{number}/{signature}/{name}`."""
    path = request.path_params
    number, signature, name = path["number"], path["signature"], path["name"]
    key = None
    if number.isascii() and number.isdigit() and len(number) < 10 and signature.isascii():
        key = deps.outputs.verify(path["prediction_id"], int(number), signature, name)
    if key is None:
        raise errors.NotFound("There is no such output.")
    try:
        return await BlobResponse.make(deps.blobs, key, name, type_of(name))
    except errors.NotFound:
        # Whoever has a link that we signed knows that there was something.
        raise errors.Gone("This output was removed: a yard keeps the outputs of a prediction for a while.") from None
