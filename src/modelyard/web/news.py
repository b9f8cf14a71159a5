"""One event stream for the pages that show many things: it says that something changed, and the page looks again."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from modelyard import rest
from modelyard.accounts import Actor
from modelyard.predictions.listing import Filter
from modelyard.web.base import Web, seen_by, visitor

LOOK_SECONDS = 1.0
_WATCHED = 50


async def get(web: Web, request: Request) -> Response:
    """`GET /news`: `changed` after each change of what this visitor may see; nothing in it but that."""
    return _News(web, await visitor(web, request))


class _News(Response):
    def __init__(self, web: Web, actor: Actor | None) -> None:
        super().__init__()
        self._web = web
        self._actor = actor

    async def __call__(self, scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(rest.EVENT_STREAM)})
        leaving = asyncio.ensure_future(_left(receive))
        try:
            last, quiet = await self._state(), 0
            await send({"type": "http.response.body", "body": b": hi\n\n", "more_body": True})
            while not leaving.done():
                await asyncio.wait([leaving], timeout=LOOK_SECONDS)
                state = await self._state()
                quiet = 0 if state != last else quiet + 1
                if state != last:
                    body = b"event: changed\ndata:\n\n"
                elif quiet % 10:
                    continue
                else:
                    body = b": ping\n\n"
                last = state
                await send({"type": "http.response.body", "body": body, "more_body": True})
        finally:
            leaving.cancel()

    async def _state(self) -> object:
        """What changes when the pages would: cheap to make, compared and thrown away."""
        seen, _ = await seen_by(self._web, self._actor)
        instances = tuple((each.id, each.state, each.running, each.said) for each in seen.instances)
        pools = tuple((pool.version_id, pool.waiting, pool.problem) for pool in seen.pools)
        if self._actor is None:
            return instances, pools
        recent = await self._web.predictions.list(Filter(account_id=self._actor.account.id), limit=_WATCHED)
        return instances, pools, tuple((record.id, record.status) for record in recent)


async def _left(receive: rest.Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
