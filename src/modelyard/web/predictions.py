"""The list of predictions, with filters that stay in the address."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from modelyard import rest
from modelyard.accounts import Actor
from modelyard.predictions.listing import Filter
from modelyard.predictions.record import Status
from modelyard.web import pages
from modelyard.web.base import Web, member, with_query

PAGE = 50


async def get(web: Web, request: Request) -> Response:
    """`GET /predictions?status=&model=&source=&cursor=`."""
    actor = await member(web, request)
    query = request.query_params
    before = rest.parse_cursor(query.get("cursor"))
    wanted, problem = await _filter(web, request, actor)
    records = [] if problem else await web.predictions.list(wanted, limit=PAGE + 1, before=before)
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
        problem=problem,
    )


async def _filter(web: Web, request: Request, actor: Actor) -> tuple[Filter, str]:
    """What the address narrows the list to, and what is wrong with that, for people."""
    query = request.query_params
    status, source, name = query.get("status", ""), query.get("source", ""), query.get("model", "").strip()
    if status and status not in list(Status):
        return Filter(), f"No prediction is ever {status[:100]!r}."
    if source not in ("", "api", "web"):
        return Filter(), f"No prediction is made by {source[:100]!r}."
    model_id = None
    if name:
        owner, _, short = name.partition("/")
        model = await web.models.get(owner, short)
        if model is None or not model.visible_to(actor.account):
            return Filter(), f"There is no model {name[:100]}, or you may not see it."
        model_id = model.id
    statuses = (Status(status),) if status else ()
    return Filter(account_id=actor.account.id, model_id=model_id, statuses=statuses, source=source or None), ""
