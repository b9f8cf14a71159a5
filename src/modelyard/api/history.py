"""Predictions that exist: found, waited for, listed, cancelled."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from modelyard import errors, rest
from modelyard.accounts import Actor
from modelyard.api.base import PAGE, Deps, actor_of, named_model
from modelyard.api.call import status_for
from modelyard.api.preferences import Wait
from modelyard.ids import is_id
from modelyard.models.record import is_version_id
from modelyard.predictions.listing import Filter
from modelyard.predictions.live import Live
from modelyard.predictions.record import IllegalMove, Prediction, Status

# How long an answer to a cancel waits for the worker to stop, so that most show the end.
_CANCEL_SHOWN_SECONDS = 0.5
# How long a reader waits for the commit of an outcome that is known already.
_COMMIT_SECONDS = 5.0


async def find(deps: Deps, prediction_id: str, actor: Actor, wait: Wait | None = None) -> Prediction:
    """A prediction of the caller's account, after its end if `wait` says so. Raises NotFound."""
    predictions = deps.predictions
    record: Prediction | None = None
    if is_id(prediction_id):
        live = predictions.lives.get(prediction_id)
        record = live.record if live is not None else await predictions.get(prediction_id)
    if record is None or record.account_id != actor.account.id:
        raise errors.NotFound("There is no such prediction.")
    if record.terminal:
        return record
    live = predictions.lives.get(prediction_id)
    if live is None and wait is not None:
        live = await predictions.revive(prediction_id)
    if live is None:
        return await predictions.get(prediction_id) or record
    await live.committed()
    if wait is not None or live.ending:
        await _watch(live, _COMMIT_SECONDS if wait is None else wait.hold)
    if live.failure is not None:
        return await predictions.get(prediction_id) or record
    return live.record


async def _watch(live: Live, seconds: float) -> None:
    live.watched += 1
    try:
        await live.finished(seconds)
    except IllegalMove:
        # Somebody else's outcome stands; the row has it.
        return
    finally:
        live.watched -= 1


async def list_(deps: Deps, request: Request) -> Response:
    """`GET /v1/predictions`: the account's, newest first."""
    actor = await actor_of(deps, request)
    wanted = await _filter(deps, request, actor)
    before = rest.parse_cursor(request.query_params.get("cursor"))
    records = await deps.predictions.list(wanted, limit=PAGE + 1, before=before)
    origin = deps.addresses.origin(request.scope)
    agent = rest.header(request.scope, b"user-agent")
    shown = []
    for record in records[:PAGE]:
        interface = await deps.models.interface_of(record.model_id, record.version_id)
        document = deps.renderer.document(record, origin, interface, status=status_for(record, agent))
        document.logs = msgspec.UNSET
        shown.append(document)
    more = None
    if len(records) > PAGE:
        last = records[PAGE - 1]
        more = rest.next_url(origin, request, rest.cursor(last.created_at, last.id))
    return rest.page(shown, more)


async def _filter(deps: Deps, request: Request, actor: Actor) -> Filter:
    """What the query narrows the list to. Raises BadRequest, and NotFound for a model that the caller may not see."""
    query = request.query_params
    after, before = (rest.parse_time(n, query[n]) if n in query else None for n in ("created_after", "created_before"))
    source, version = query.get("source") or None, query.get("version") or None
    if source not in (None, "api", "web"):
        raise errors.BadRequest(f"Query parameter 'source' is {source[:100]!r}; api or web is wanted.")
    if version is not None and not is_version_id(version):
        raise errors.BadRequest(f"Query parameter 'version' is {version[:100]!r}; 64 hexadecimal digits are wanted.")
    name = query.get("model") or None
    return Filter(
        account_id=actor.account.id,
        model_id=None if name is None else (await named_model(deps, name, actor)).id,
        version_id=version,
        statuses=tuple(_status(text) for text in query.getlist("status") if text),
        source=source,
        created_after=after,
        created_before=before,
    )


def _status(text: str) -> Status:
    try:
        return Status(text)
    except ValueError:
        raise errors.BadRequest(
            f"Query parameter 'status' is {text[:100]!r}; one of {', '.join(Status)} is wanted.",
            hint="Repeat it for several: status=starting&status=processing",
        ) from None


async def cancel(deps: Deps, request: Request) -> Response:
    """`POST /v1/predictions/{id}/cancel`: the prediction, ended or about to end."""
    actor = await actor_of(deps, request)
    record = await find(deps, request.path_params["prediction_id"], actor)
    if not record.terminal:
        record = await deps.predictions.cancel(record.id) or record
        live = deps.predictions.lives.get(record.id)
        if live is not None:
            await _watch(live, _CANCEL_SHOWN_SECONDS)
            record = live.record
    interface = await deps.models.interface_of(record.model_id, record.version_id)
    document = deps.renderer.document(
        record,
        deps.addresses.origin(request.scope),
        interface,
        live=deps.predictions.lives.get(record.id),
        status=status_for(record, rest.header(request.scope, b"user-agent")),
    )
    return rest.json_response(document)


async def delete(deps: Deps, request: Request) -> Response:
    """`DELETE /v1/predictions/{id}`: of one that has ended, all that is kept."""
    actor = await actor_of(deps, request)
    record = await find(deps, request.path_params["prediction_id"], actor)
    if not record.terminal or not await deps.removal.remove(record):
        raise errors.Conflict(
            f"Prediction {record.id} is {record.status.value}; only one that has ended can be deleted.",
            hint=f"Cancel it first: POST /v1/predictions/{record.id}/cancel",
        )
    return Response(status_code=204)
