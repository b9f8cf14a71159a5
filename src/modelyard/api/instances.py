"""Instances over HTTP: what runs, what it holds, and what it says outside of predictions."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from modelyard import errors, rest
from modelyard.accounts import Actor
from modelyard.api import stream
from modelyard.api.base import PAGE, Deps, actor_of
from modelyard.ids import is_id
from modelyard.machine import InstanceLog, PastInstance, SeenInstance

# What a process writes past the link is looked for this often while somebody follows.
_LOOK_SECONDS = 1.0
_MAX_LINES = 1_000_000


async def name_of(deps: Deps, model_id: str) -> str | None:
    """`owner/name`; None for a model that is no more."""
    model = await deps.models.get_by_id(model_id)
    return None if model is None else model.full_name


async def _may_see(deps: Deps, actor: Actor, model_id: str) -> bool:
    if await deps.accounts.operates(actor.account):
        return True
    model = await deps.models.get_by_id(model_id)
    return model is not None and model.owner == actor.account.username


# -- documents


async def _document(deps: Deps, origin: str, instance: SeenInstance, actor: Actor) -> dict[str, Any]:
    return {
        **await _common(deps, origin, instance),
        "since": rest.time_text(deps.clock() - int(instance.since_seconds * 1e6)),
        "concurrency": instance.concurrency,
        "running": [each for each in instance.running if await _may_name(deps, actor, each)],
        "said": instance.said,
        "error": None,
    }


async def _past_document(deps: Deps, origin: str, instance: PastInstance) -> dict[str, Any]:
    return {
        **await _common(deps, origin, instance),
        "since": rest.time_text(instance.stopped_at),
        "concurrency": 0,
        "running": [],
        "said": "",
        "error": instance.error,
        "created_at": rest.time_text(instance.created_at),
        "ready_at": rest.optional_time(instance.ready_at),
    }


async def _common(deps: Deps, origin: str, instance: SeenInstance | PastInstance) -> dict[str, Any]:
    address = f"{origin}/v1/instances/{instance.id}"
    return {
        "id": instance.id,
        "model": await name_of(deps, instance.model_id),
        "version": instance.version_id,
        "state": instance.state,
        "memory_bytes": instance.memory_bytes,
        "cpus": instance.cpus,
        "gpus": list(instance.gpus),
        "urls": {"get": address, "logs": f"{address}/logs"},
    }


async def _may_name(deps: Deps, actor: Actor, prediction_id: str) -> bool:
    """A prediction of somebody else keeps its slot busy, and its id is nobody's business but the operator's."""
    if await deps.accounts.operates(actor.account):
        return True
    live = deps.predictions.lives.get(prediction_id)
    return live is not None and live.record.account_id == actor.account.id


# -- requests


async def list_(deps: Deps, request: Request) -> Response:
    """`GET /v1/instances`: those of one's models, all for the operator; `ended=true`: also the last that ended."""
    actor = await actor_of(deps, request)
    ended = request.query_params.get("ended", "false")
    if ended not in ("true", "false"):
        raise errors.BadRequest(f"Query parameter 'ended' is {ended[:100]!r}; true or false is wanted.")
    origin = deps.addresses.origin(request.scope)
    shown = [
        await _document(deps, origin, instance, actor)
        for instance in deps.machine.observe().instances
        if await _may_see(deps, actor, instance.model_id)
    ]
    if ended == "true":
        owner = None if await deps.accounts.operates(actor.account) else actor.account.username
        past = await deps.machine.ended(owner=owner, limit=PAGE)
        shown += [await _past_document(deps, origin, instance) for instance in past]
    return rest.page(shown, None)


async def get(deps: Deps, request: Request) -> Response:
    """`GET /v1/instances/{id}`: one that runs, or one that has ended."""
    actor = await actor_of(deps, request)
    instance = await _find(deps, request, actor)
    origin = deps.addresses.origin(request.scope)
    if isinstance(instance, PastInstance):
        return rest.json_response(await _past_document(deps, origin, instance))
    return rest.json_response(await _document(deps, origin, instance, actor))


async def _find(deps: Deps, request: Request, actor: Actor) -> SeenInstance | PastInstance:
    wanted = request.path_params["instance_id"]
    found: SeenInstance | PastInstance | None = None
    if is_id(wanted):
        running = [each for each in deps.machine.observe().instances if each.id == wanted]
        found = running[0] if running else await deps.machine.past(wanted)
    if found is None or not await _may_see(deps, actor, found.model_id):
        raise errors.NotFound("There is no such instance.")
    return found


async def logs(deps: Deps, request: Request) -> Response:
    """`GET /v1/instances/{id}/logs`: as text what there is; as events also what comes, until the instance ends."""
    instance = await _find(deps, request, await actor_of(deps, request))
    log = deps.machine.log(instance.id)
    lines = request.query_params.get("tail")
    if lines is not None and not (lines.isascii() and lines.isdigit() and int(lines[:9]) <= _MAX_LINES):
        raise errors.BadRequest(f"Query parameter 'tail' is {lines[:100]!r}; a number up to {_MAX_LINES} is wanted.")
    start = 0 if lines is None else log.tail(int(lines[:9]))
    if request.method == "HEAD" or b"text/event-stream" not in rest.header(request.scope, b"accept"):
        return StreamingResponse(_text(log, start), media_type="text/plain", headers={"cache-control": "no-store"})
    resume = rest.header(request.scope, b"last-event-id")
    if resume.isdigit() and len(resume) < 16:
        start = int(resume)
    response = StreamingResponse(_events(log, start))
    response.raw_headers = list(stream.HEADERS)
    return response


async def _text(log: InstanceLog, offset: int) -> AsyncIterator[bytes]:
    while True:
        part, offset = log.read(offset)
        if not part:
            return
        yield part


async def _events(log: InstanceLog, offset: int) -> AsyncIterator[bytes]:
    """`logs` events with the offset behind them as their id, and `done` when the instance has ended."""
    news = asyncio.Event()
    unfollow = log.follow(news.set)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    loop = asyncio.get_running_loop()
    pinged = loop.time()
    try:
        yield b": hi\n\n"
        while True:
            news.clear()
            ended = log.ended
            part, offset = log.read(offset)
            if part:
                text = decoder.decode(part)
                waiting = len(decoder.getstate()[0])
                yield stream.event(b"logs", b"%d" % (offset - waiting), text)
                continue
            if ended:
                yield stream.event(b"done", b"%d" % offset, "{}")
                return
            await _wait(news, _LOOK_SECONDS)
            if loop.time() - pinged > stream.PING_SECONDS:
                pinged = loop.time()
                yield stream.PING
    finally:
        unfollow()


async def _wait(news: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return
