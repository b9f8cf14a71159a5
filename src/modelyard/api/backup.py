"""The yard in one file, as bytes that are made while they are sent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime
from typing import cast

from starlette.requests import Request
from starlette.responses import Response

from modelyard import errors, rest
from modelyard.api.base import Deps, operator_of

log = logging.getLogger(__name__)

# A reader that takes nothing for this long keeps the database's log from shrinking, and is given up.
STALLED_SECONDS = 60.0


async def create(deps: Deps, request: Request) -> Response:
    """`POST /v1/yard/backup`: a tar, for whoever operates the yard. Cut off where it could not be made to its end."""
    await operator_of(deps, request)
    if deps.backup is None:
        raise errors.Unavailable("This server makes no backups.")
    pieces = deps.backup()
    # What keeps it from being made at all is said as an error, not by an answer that ends at once.
    first = await anext(pieces)
    made_at = datetime.fromtimestamp(deps.clock() // 1_000_000, UTC)
    return _Backup(first, pieces, f"yard-{made_at:%Y%m%d-%H%M%S}.tar")


class _Backup(Response):
    def __init__(self, first: bytes, pieces: AsyncIterator[bytes], name: str) -> None:
        super().__init__()
        self._first = first
        self._pieces = cast("AsyncGenerator[bytes, None]", pieces)
        self._name = name

    async def __call__(self, scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
        """Answer, as long as somebody takes it."""
        headers = [
            (b"content-type", b"application/x-tar"),
            (b"content-disposition", f'attachment; filename="{self._name}"'.encode()),
            rest.NO_STORE,
        ]
        left = asyncio.ensure_future(_left(receive))
        try:
            async with contextlib.aclosing(self._pieces):
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await _send(send, self._first)
                async for piece in self._pieces:
                    if left.done():
                        log.info("whoever asked for a backup left before it was made")
                        return
                    await _send(send, piece)
        except (errors.ModelyardError, OSError, TimeoutError) as error:
            # An answer that does not come to its end is cut off by the server, so that nobody takes it for whole.
            log.error("a backup could not be made to its end: %s", error or "nobody took it")
            return
        finally:
            left.cancel()
        await send({"type": "http.response.body", "body": b""})


async def _send(send: rest.Send, piece: bytes) -> None:
    async with asyncio.timeout(STALLED_SECONDS):
        await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _left(receive: rest.Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
