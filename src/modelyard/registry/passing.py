"""An answer whose body may end before its end: then it is cut off, so that nobody takes it for whole."""

from __future__ import annotations

import logging

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from modelyard import errors, rest

log = logging.getLogger(__name__)


class PassedThrough(StreamingResponse):
    """What comes from elsewhere, handed on as it comes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, until it ends or whoever asked is gone."""
        try:
            await super().__call__(scope, receive, send)
        except (errors.ModelyardError, OSError) as error:
            log.warning("a layer was cut off on its way through: %s", error)
            # A server without a word for this cuts off itself what does not come to its end.
            cut_off = scope.get(rest.CUT_OFF)
            if cut_off is not None:
                cut_off()
