"""Predictions over HTTP. Creating and getting one are plain ASGI, by hand: everybody's speed depends on them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from modelyard import errors, rest
from modelyard.accounts import Actor
from modelyard.api import stream, validation
from modelyard.api.base import PAGE, Deps, actor_of, invalid
from modelyard.api.preferences import Wait, parse_cancel_after, parse_prefer
from modelyard.api.retries import Retries, key_of_body
from modelyard.ids import is_id
from modelyard.models.record import Target
from modelyard.predictions.live import Live
from modelyard.predictions.record import IllegalMove, Prediction, Status
from modelyard.predictions.service import NewPrediction

Handler = Callable[[rest.Scope, rest.Receive, rest.Send], Awaitable[None]]

# How long an answer to a cancel waits for the worker to stop, so that most show the end.
_CANCEL_SHOWN_SECONDS = 0.5
# How long a reader waits for the commit of an outcome that is known already.
_COMMIT_SECONDS = 5.0
# Clients that know no status `aborted` wait for ever or fail; the same end under the name that they know.
_KNOW_NO_ABORTED = (b"replicate-python/", b"replicate-javascript/", b"replicate/python 2.0.0")


class _Headers:
    """The headers that matter here."""

    __slots__ = ("accept", "agent", "attempt", "authorization", "cancel_after", "host", "length", "name", "prefer")

    def __init__(self, headers: rest.Headers) -> None:
        self.authorization = self.host = self.prefer = self.agent = b""
        self.cancel_after = self.accept = self.attempt = self.name = self.length = b""
        for key, value in headers:
            if key == b"authorization":
                self.authorization = value
            elif key == b"host":
                self.host = value
            elif key == b"prefer":
                self.prefer = self.prefer + b"," + value if self.prefer else value
            elif key == b"user-agent":
                self.agent = value
            elif key == b"accept":
                self.accept = value
            elif key == b"content-length":
                self.length = value
            elif key == b"cancel-after":
                self.cancel_after = value
            elif key == b"x-stainless-retry-count":
                self.attempt = value
            elif key == b"idempotency-key":
                self.name = value

    def too_long(self) -> bool:
        """Does the body announce itself as too long?"""
        return self.length.isdigit() and int(self.length[:20]) > rest.MAX_BODY_BYTES


def status_for(record: Prediction, agent: bytes) -> str | None:
    """Another word than the record's, where this client does not know that one."""
    if record.status is Status.ABORTED and agent.lower().startswith(_KNOW_NO_ABORTED):
        return Status.CANCELED.value
    return None


class HotRoutes:
    """`POST /v1/predictions`, `POST /v1/models/{owner}/{name}/predictions`, `GET /v1/predictions/{id}`."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._checker = validation.Checker()
        self._retries = Retries(deps.clock)

    def match(self, scope: rest.Scope) -> Handler | None:
        """The handler of a request that is one of these; the rest is for the router."""
        path: str = scope["path"]
        if path.startswith("/v1/v1/"):
            path = path[3:]
        method = scope["method"]
        if method == "POST":
            if path == "/v1/predictions":
                return self.create
            if path.startswith("/v1/models/") and path.endswith("/predictions") and path.count("/") == 5:
                return self.create_by_model
        elif method == "GET" and path.startswith("/v1/predictions/") and path.count("/") == 3:
            return self.get
        return None

    async def create(self, scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
        """`POST /v1/predictions`."""
        await self._answer(self._create, scope, receive, send, False)

    async def create_by_model(self, scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
        """`POST /v1/models/{owner}/{name}/predictions`: the model's latest version."""
        await self._answer(self._create, scope, receive, send, True)

    async def get(self, scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
        """`GET /v1/predictions/{id}`; with `Prefer: wait` the answer waits for the end."""
        await self._answer(self._get, scope, receive, send)

    async def _answer(
        self,
        handler: Callable[..., Awaitable[None]],
        scope: rest.Scope,
        receive: rest.Receive,
        send: rest.Send,
        *arguments: Any,
    ) -> None:
        try:
            await handler(scope, receive, send, *arguments)
        except Exception as error:
            await rest.reply_problem(send, rest.as_error(error))

    # -- create

    async def _create(self, scope: rest.Scope, receive: rest.Receive, send: rest.Send, by_model: bool) -> None:
        deps = self._deps
        headers = _Headers(scope["headers"])
        actor = deps.auth.peek(headers.authorization) or await deps.auth.actor(headers.authorization)
        if headers.too_long():
            raise rest.too_large(rest.MAX_BODY_BYTES)
        body = await rest.read_body(receive)
        wait = parse_prefer(headers.prefer) if headers.prefer else None
        origin = deps.addresses.origin(scope, headers.host)
        streams = headers.accept.startswith(b"text/event-stream")
        live: Live | None = None
        if headers.attempt or headers.name:
            earlier = await self._earlier(actor, scope, headers, body)
            if isinstance(earlier, Prediction):
                await self._reply_created(send, headers, earlier, origin, wait, None)
                return
            live = earlier
        if live is None:
            live = await self._accept(scope, headers, actor, body, by_model, origin, wait=wait if not streams else None)
        if streams:
            await live.committed()
            location = (b"location", f"{origin}/v1/predictions/{live.id}".encode())
            await stream.serve(deps, scope, receive, send, live.id, status=201, headers=[location])
            return
        if wait is None or not await self._finished(live, wait.hold):
            await live.committed()
        record = live.record
        if live.failure is not None:
            record = await deps.predictions.get(live.id) or record
        await self._reply_created(send, headers, record, origin, wait, live)

    async def _finished(self, live: Live, seconds: float) -> bool:
        try:
            return await live.finished(seconds)
        except IllegalMove:
            # Somebody else's outcome stands; the row has it.
            return True

    async def _accept(
        self,
        scope: rest.Scope,
        headers: _Headers,
        actor: Actor,
        body: bytes,
        by_model: bool,
        origin: str,
        *,
        wait: Wait | None,
    ) -> Live:
        deps = self._deps
        try:
            envelope = (validation.decode_by_model if by_model else validation.decode_by_version)(body)
        except (ValueError, RecursionError):
            raise validation.explain_body(body, by_version=not by_model) from None
        spelling = _model_in_path(scope["path"]) if by_model else envelope.version  # type: ignore[attr-defined]
        account = actor.account
        target = deps.targets.peek(spelling, account) or await self._target(spelling, actor, by_model)
        interface = target.version.interface
        checked = self._checker.check(envelope.input, interface)
        input_files: dict[str, str] = {}
        if interface.files and (len(body) > 8192 or deps.inputs.may_hold_links(checked.raw)):
            input_files = await self._take_files(checked, target, actor, origin)
        new = NewPrediction(
            account_id=account.id,
            model_id=target.model.id,
            model=target.model.full_name,
            version_id=target.version.id,
            input=checked.raw,
            webhook=validation.webhook(envelope.webhook or envelope.webhook_completed),
            webhook_events=envelope.webhook_events_filter,
            cancel_after_seconds=parse_cancel_after(headers.cancel_after) if headers.cancel_after else None,
            notes=checked.notes,
            input_files=input_files,
        )
        live = deps.predictions.create(new, wait=wait is not None)
        if new.webhook is not None:
            deps.remember_origin(live.id, origin)
        deps.runs.count(target.model.id)
        if headers.attempt or headers.name:
            self._remember(actor, scope, headers, body, live)
        return live

    async def _target(self, spelling: str, actor: Actor, by_model: bool) -> Target:
        target = await self._deps.targets.get(spelling, actor.account)
        if target is not None:
            return target
        owner, _, name = spelling.partition(":")[0].partition("/")
        model = await self._deps.models.get(owner, name) if name else None
        known = model is not None and model.visible_to(actor.account)
        if by_model and not known:
            raise errors.NotFound(f"There is no model {spelling}, or you may not run it.")
        hint = (
            f"{owner}/{name} has no version yet: `yard push {owner}/{name}`." if known and ":" not in spelling else None
        )
        raise errors.Invalid(
            "The specified version does not exist (or perhaps you don't have permission to use it?)",
            title="Invalid version or not permitted",
            hint=hint,
        )

    async def _take_files(
        self, checked: validation.Checked, target: Target, actor: Actor, origin: str
    ) -> dict[str, str]:
        deps = self._deps
        account_id = actor.account.id
        changed = False
        for name in target.version.interface.files & checked.values.keys():
            value = checked.values[name]
            kept = await deps.inputs.keep_inline(account_id, value, f"input.{name}", lambda i: f"{origin}/v1/files/{i}")
            if kept != value:
                checked.values[name] = kept
                changed = True
        if changed:
            checked.raw = msgspec.json.encode(checked.values)
        return await deps.inputs.local(account_id, checked.values)

    async def _reply_created(
        self,
        send: rest.Send,
        headers: _Headers,
        record: Prediction,
        origin: str,
        wait: Wait | None,
        live: Live | None,
    ) -> None:
        interface = self._deps.models.peek_interface(record.model_id, record.version_id)
        if interface is None:
            interface = await self._deps.models.interface_of(record.model_id, record.version_id)
        # A client that waited takes every status but `starting` for the end, so nothing in between is ever told.
        pending = not record.terminal or wait is None
        document = self._deps.renderer.render(
            record,
            origin,
            interface,
            live=live,
            as_created=pending,
            status=None if pending else status_for(record, headers.agent),
        )
        answer = [
            (b"content-type", rest.JSON_TYPE),
            rest.NO_STORE,
            (b"location", f"{origin}/v1/predictions/{record.id}".encode()),
        ]
        if wait is not None:
            answer.append((b"preference-applied", wait.applied))
        await rest.reply(send, 201, answer, document)

    # -- requests that come again

    async def _earlier(
        self, actor: Actor, scope: rest.Scope, headers: _Headers, body: bytes
    ) -> Live | Prediction | None:
        """What an earlier sending of this request made, if it was one and was made."""
        key = key_of_body(actor.account.id, scope["path"], body)
        prediction_id: str | None = None
        if headers.name:
            named = self._retries.named(actor.account.id, headers.name.decode("latin-1"))
            if named is not None and named[0] != key:
                raise invalid([("idempotency", "Idempotency-Key", "This key was used for another request")])
            prediction_id = named[1] if named is not None else None
        elif headers.attempt not in (b"", b"0"):
            prediction_id = self._retries.again(key)
        if prediction_id is None:
            return None
        live = self._deps.predictions.lives.get(prediction_id)
        if live is not None:
            return live if live.failure is None else None
        return await self._deps.predictions.get(prediction_id)

    def _remember(self, actor: Actor, scope: rest.Scope, headers: _Headers, body: bytes, live: Live) -> None:
        key = key_of_body(actor.account.id, scope["path"], body)
        if headers.name:
            self._retries.name(actor.account.id, headers.name.decode("latin-1"), key, live.id)
        else:
            self._retries.made(key, live.id)

    # -- get

    async def _get(self, scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
        deps = self._deps
        headers = _Headers(scope["headers"])
        actor = deps.auth.peek(headers.authorization) or await deps.auth.actor(headers.authorization)
        prediction_id = scope["path"].rpartition("/")[2]
        wait = parse_prefer(headers.prefer) if headers.prefer else None
        record = await find(deps, prediction_id, actor, wait)
        interface = deps.models.peek_interface(record.model_id, record.version_id)
        if interface is None:
            interface = await deps.models.interface_of(record.model_id, record.version_id)
        origin = deps.addresses.origin(scope, headers.host)
        live = deps.predictions.lives.get(record.id)
        document = deps.renderer.render(record, origin, interface, live=live, status=status_for(record, headers.agent))
        answer = [(b"content-type", rest.JSON_TYPE), rest.NO_STORE]
        if wait is not None:
            answer.append((b"preference-applied", wait.applied))
        await rest.reply(send, 200, answer, document)


def _model_in_path(path: str) -> str:
    *_, owner, name, _ = path.split("/")
    return f"{owner}/{name}"


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


# -- the rest, by the router


async def list_(deps: Deps, request: Request) -> Response:
    """`GET /v1/predictions`: the account's, newest first."""
    actor = await actor_of(deps, request)
    query = request.query_params
    filters: dict[str, Any] = {}
    for name in ("created_after", "created_before"):
        if query.get(name):
            filters[name] = rest.parse_time(name, query[name])
    source = query.get("source", "")
    if source not in ("", "api", "web"):
        raise errors.BadRequest(f"Query parameter 'source' is {source[:100]!r}; api or web is wanted.")
    before = rest.parse_cursor(query.get("cursor"))
    records = await deps.predictions.list(actor.account.id, limit=PAGE + 1, before=before, source=source, **filters)
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


def as_route(handler: Handler) -> rest.Handler:
    """A plain ASGI handler as one that the router may call."""

    async def route(request: Request) -> Response:
        return _Plain(handler)

    return route


class _Plain(Response):
    def __init__(self, handler: Handler) -> None:
        super().__init__()
        self._handler = handler

    async def __call__(self, scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
        await self._handler(scope, receive, send)
