"""An answer whose body may end before its end: then it is cut off, so that nobody takes it for whole."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import cast

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from modelyard import errors

log = logging.getLogger(__name__)


class PassedThrough(Response):
    """What comes from elsewhere, handed on as it comes."""

    def __init__(self, chunks: AsyncIterator[bytes], status: int, headers: Mapping[str, str]) -> None:
        super().__init__(None, status, dict(headers), "application/octet-stream")
        self._chunks = cast("AsyncGenerator[bytes, None]", chunks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, until it ends or whoever asked is gone."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async with contextlib.aclosing(self._chunks):
                async for chunk in self._chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except (errors.ModelyardError, OSError) as error:
            # An answer that does not come to its end is cut off by the server.
            log.warning("a layer was cut off on its way through: %s", error)
            return
        await send({"type": "http.response.body", "body": b""})
