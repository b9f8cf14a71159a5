"""The first page: the yard's models; and the search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from modelyard import rest
from modelyard.machine import Seen
from modelyard.models.record import Model, sort_key
from modelyard.web import pages
from modelyard.web.base import NOBODY, Web, seen_by, visitor, with_query

PAGE = 24
FOUND = 50


@dataclass(frozen=True, slots=True)
class Shown:
    """What the instances of a model do, as one word with its state's colour and shape."""

    word: str
    state: str


def states(seen: Seen) -> Mapping[str, Shown]:
    """By the ids of models that have instances or something waiting."""
    found: dict[str, Shown] = {}
    counts: dict[str, Counter[str]] = {}
    for each in seen.instances:
        counts.setdefault(each.model_id, Counter())[each.state] += 1
    for pool in seen.pools:
        if pool.waiting or pool.problem:
            found[pool.model_id] = Shown(f"{pool.waiting} waiting" if pool.waiting else "cannot start", "waiting")
    for model_id, count in counts.items():
        if count["busy"]:
            found[model_id] = Shown("running", "running")
        elif count["starting"]:
            found[model_id] = Shown("starting", "waiting")
        elif count["idle"]:
            found.setdefault(model_id, Shown("ready", "done"))
    return found


async def get(web: Web, request: Request) -> Response:
    """`GET /`: cards of the models that this visitor may see, newest first."""
    actor = await visitor(web, request)
    account = NOBODY if actor is None else actor.account
    before = rest.parse_cursor(request.query_params.get("cursor"))
    found = await web.models.list(account, limit=PAGE + 1, after=before)
    more = None
    if len(found) > PAGE:
        last = found[PAGE - 1]
        more = with_query(request, cursor=rest.cursor(sort_key(last, "latest_version_created_at"), last.id))
    seen, _ = await seen_by(web, actor)
    return pages.page(
        web,
        request,
        actor,
        "home.html",
        data="/v1/models",
        models=found[:PAGE],
        more=more,
        states=states(seen),
        problems=web.overview.problems(),
    )


async def search(web: Web, request: Request) -> Response:
    """`GET /search?q=`: models by name and description, the most used first."""
    actor = await visitor(web, request)
    account = NOBODY if actor is None else actor.account
    text = request.query_params.get("q", "").strip()[:200]
    found: list[Model] = await web.models.search(account, text, limit=FOUND) if text else []
    seen, _ = await seen_by(web, actor)
    return pages.page(web, request, actor, "search.html", text=text, models=found, states=states(seen))
