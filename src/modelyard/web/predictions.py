"""The list of predictions, with filters that stay in the address."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from modelyard import rest
from modelyard.predictions.record import Status
from modelyard.web import pages
from modelyard.web.base import Web, member, with_query

PAGE = 50


async def get(web: Web, request: Request) -> Response:
    """`GET /predictions?status=&model=&source=&cursor=`."""
    actor = await member(web, request)
    query = request.query_params
    before = rest.parse_cursor(query.get("cursor"))
    source = query.get("source", "")
    records = await web.predictions.list(
        actor.account.id, limit=PAGE + 1, before=before, source=source if source in ("api", "web") else ""
    )
    more = None
    if len(records) > PAGE:
        last = records[PAGE - 1]
        more = with_query(request, cursor=rest.cursor(last.created_at, last.id))
    return pages.page(
        web,
        request,
        actor,
        "predictions.html",
        data=f"/v1/predictions?{request.url.query}".rstrip("?"),
        records=records[:PAGE],
        more=more,
        first=before is None,
        statuses=[status.value for status in Status],
        filters={name: query.get(name, "") for name in ("status", "model", "source")},
        link=lambda **changed: with_query(request, cursor=None, **changed),
    )
