"""Creating and getting predictions: plain ASGI, by hand, because everybody's speed depends on these."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from modelyard import errors, rest
from modelyard.api import history, stream, validation
from modelyard.api.base import Deps, invalid
from modelyard.api.call import Call, status_for
from modelyard.api.preferences import parse_cancel_after
from modelyard.api.retries import Retries, key_of_body
from modelyard.models.interface import Interface
from modelyard.models.record import Target
from modelyard.predictions.hidden import MOST_SECRET_BYTES, take_out
from modelyard.predictions.inputs import INLINE_CHARACTERS
from modelyard.predictions.live import Live
from modelyard.predictions.ports import NewPrediction
from modelyard.predictions.record import IllegalMove, Prediction

Handler = Callable[[rest.Scope, rest.Receive, rest.Send], Awaitable[None]]


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

    def create(self, scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> Awaitable[None]:
        """`POST /v1/predictions`."""
        return self._create(Call(scope), receive, send, by_model=False)

    def create_by_model(self, scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> Awaitable[None]:
        """`POST /v1/models/{owner}/{name}/predictions`: the model's latest version."""
        return self._create(Call(scope), receive, send, by_model=True)

    async def get(self, scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
        """`GET /v1/predictions/{id}`; with `Prefer: wait` the answer waits for the end."""
        try:
            await self._get(Call(scope), send)
        except Exception as error:
            await rest.reply_problem(scope, send, rest.as_error(error))

    # -- create

    async def _create(self, call: Call, receive: rest.Receive, send: rest.Send, *, by_model: bool) -> None:
        deps = self._deps
        try:
            call.actor = deps.auth.peek(call.authorization) or await deps.auth.actor(call.authorization)
            if call.too_long():
                raise rest.too_large(rest.MAX_BODY_BYTES)
            call.body = await rest.read_body(receive)
            call.origin = deps.addresses.origin(call.scope, call.host)
            earlier = await self._earlier(call) if call.may_repeat else None
            if isinstance(earlier, Prediction):
                await self._reply_created(send, call, earlier, None)
                return
            live = earlier or await self._accept(call, by_model)
            if call.streams:
                await self._stream(call, receive, send, live)
                return
            if call.wait is None or not await _finished(live, call.wait.hold):
                await live.committed()
            record = live.record
            if live.failure is not None:
                record = await deps.predictions.get(live.id) or record
            await self._reply_created(send, call, record, live)
        except Exception as error:
            await rest.reply_problem(call.scope, send, rest.as_error(error))

    async def _stream(self, call: Call, receive: rest.Receive, send: rest.Send, live: Live) -> None:
        await live.committed()
        location = [(b"location", f"{call.origin}/v1/predictions/{live.id}".encode())]
        await stream.serve(self._deps, call.scope, receive, send, live.id, status=201, headers=location)

    async def _accept(self, call: Call, by_model: bool) -> Live:
        deps = self._deps
        envelope, spelling = _read_envelope(call, by_model)
        target = deps.targets.peek(spelling, call.actor.account) or await self._target(call, spelling, by_model)
        interface = target.version.interface
        checked = self._checker.check(envelope.input, interface)
        secrets = _take_secrets(checked, interface) if interface.secrets else {}
        input_files: dict[str, str] = {}
        if interface.files and (len(checked.raw) > INLINE_CHARACTERS or deps.inputs.may_hold_links(checked.raw)):
            input_files = await self._take_files(call, checked, interface)
        new = NewPrediction(
            account_id=call.actor.account.id,
            model_id=target.model.id,
            model=target.model.full_name,
            version_id=target.version.id,
            source=call.actor.source,
            input=checked.raw,
            webhook=validation.webhook(envelope.webhook or envelope.webhook_completed),
            webhook_events=envelope.webhook_events_filter,
            cancel_after_seconds=parse_cancel_after(call.cancel_after) if call.cancel_after else None,
            run_timeout_seconds=target.version.timeouts.run_seconds,
            notes=checked.notes,
            input_files=input_files,
            secrets=secrets,
        )
        live = deps.predictions.create(new, wait=call.wait is not None and not call.streams, stream=call.streams)
        deps.runs.count(target.model.id)
        if new.webhook is not None:
            deps.remember_origin(live.id, call.origin)
        if call.may_repeat:
            self._remember(call, live)
        return live

    async def _target(self, call: Call, spelling: str, by_model: bool) -> Target:
        account = call.actor.account
        target = await self._deps.targets.get(spelling, account)
        if target is not None:
            return target
        owner, _, name = spelling.partition(":")[0].partition("/")
        model = await self._deps.models.get(owner, name) if name else None
        known = model is not None and model.visible_to(account)
        if by_model and not known:
            raise errors.NotFound(f"There is no model {spelling}, or you may not run it.")
        raise errors.Invalid(
            "The specified version does not exist (or perhaps you don't have permission to use it?)",
            title="Invalid version or not permitted",
            hint=f"`yard push {owner}/{name}` makes a version." if known and ":" not in spelling else None,
        )

    async def _take_files(self, call: Call, checked: validation.Checked, interface: Interface) -> dict[str, str]:
        """Make files of long data URIs; give where the bytes of files of ours are."""
        inputs, account_id = self._deps.inputs, call.actor.account.id
        changed = False
        for name in interface.files & checked.values.keys():
            value = checked.values[name]
            kept = await inputs.keep_inline(
                account_id, value, f"input.{name}", lambda file_id: f"{call.origin}/v1/files/{file_id}"
            )
            if kept != value:
                checked.values[name] = kept
                changed = True
        if changed:
            checked.raw = msgspec.json.encode(checked.values)
        found = await inputs.local(account_id, checked.values)
        gone = [name for name in interface.files if inputs.lost(checked.values.get(name), found, call.origin)]
        if gone:
            said = "There is no such file of yours here: it was deleted or has expired, or its address is not whole"
            raise invalid([("file", f"input.{name}", said) for name in sorted(gone)])
        return found

    async def _reply_created(self, send: rest.Send, call: Call, record: Prediction, live: Live | None) -> None:
        models = self._deps.models
        known = models.peek_interface(record.model_id, record.version_id)
        interface = known or await models.interface_of(record.model_id, record.version_id)
        # A client that waited takes every status but `starting` for the end, so nothing in between is ever told.
        pending = not record.terminal
        status = None if pending else status_for(record, call.agent)
        body = self._deps.renderer.render(record, call.origin, interface, live=live, as_created=pending, status=status)
        headers = call.answer_headers()
        headers.append((b"location", f"{call.origin}/v1/predictions/{record.id}".encode()))
        await rest.reply(call.scope, send, 201, headers, body)

    # -- requests that come again

    async def _earlier(self, call: Call) -> Live | Prediction | None:
        """What an earlier sending of this request made, if it was one and was made."""
        key = key_of_body(call.actor.account.id, call.scope["path"], call.body)
        prediction_id: str | None = None
        if call.name:
            named = self._retries.named(call.actor.account.id, call.name)
            if named is not None and named[0] != key:
                raise invalid([("idempotency", "Idempotency-Key", "This key was used for another request")])
            prediction_id = named[1] if named is not None else None
        elif call.attempt != b"0":
            prediction_id = self._retries.again(key)
        if prediction_id is None:
            return None
        live = self._deps.predictions.lives.get(prediction_id)
        if live is not None:
            return live if live.failure is None else None
        return await self._deps.predictions.get(prediction_id)

    def _remember(self, call: Call, live: Live) -> None:
        key = key_of_body(call.actor.account.id, call.scope["path"], call.body)
        if call.name:
            self._retries.name(call.actor.account.id, call.name, key, live.id)
        else:
            self._retries.made(key, live.id)

    # -- get

    async def _get(self, call: Call, send: rest.Send) -> None:
        deps = self._deps
        actor = deps.auth.peek(call.authorization) or await deps.auth.actor(call.authorization)
        prediction_id = call.scope["path"].rpartition("/")[2]
        record = await history.find(deps, prediction_id, actor, call.wait)
        interface = await deps.models.interface_of(record.model_id, record.version_id)
        origin = deps.addresses.origin(call.scope, call.host)
        live = deps.predictions.lives.get(record.id)
        status = status_for(record, call.agent)
        body = deps.renderer.render(record, origin, interface, live=live, status=status)
        await rest.reply(call.scope, send, 200, call.answer_headers(), body)


async def _finished(live: Live, seconds: float) -> bool:
    try:
        return await live.finished(seconds)
    except IllegalMove:
        # Somebody else's outcome stands; the row has it.
        return True


def _take_secrets(checked: validation.Checked, interface: Interface) -> dict[str, Any]:
    """Take what nobody but the model may see out of an input. Raises Invalid where that is too long."""
    secrets = take_out(checked.values, interface.secrets)
    if secrets:
        checked.raw = msgspec.json.encode(checked.values)
        if len(msgspec.json.encode(secrets)) > MOST_SECRET_BYTES:
            said = f"Secrets of an input may have {MOST_SECRET_BYTES // 1024} KiB together"
            raise invalid([("string_lte", f"input.{next(iter(secrets))}", said)])
    return secrets


def _read_envelope(call: Call, by_model: bool) -> tuple[validation.ByModel, str]:
    """The body, and what it or the path says is to be run."""
    try:
        if by_model:
            return validation.decode_by_model(call.body), "/".join(call.scope["path"].split("/")[-3:-1])
        envelope = validation.decode_by_version(call.body)
        return envelope, envelope.version
    except (ValueError, RecursionError):
        raise validation.explain_body(call.body, by_version=not by_model) from None


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
