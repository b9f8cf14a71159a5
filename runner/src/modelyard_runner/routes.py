"""Cog's HTTP API over a supervisor, as one plain ASGI application: this is a hot path."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from modelyard_runner import envelope, intake, replies, sse
from modelyard_runner.crew import Crew
from modelyard_runner.envelope import Envelope, RequestError
from modelyard_runner.facts import Facts, Route, find_route
from modelyard_runner.prediction import Prediction
from modelyard_runner.runs import Run, Runs, Task
from modelyard_runner.slots import AtCapacity
from modelyard_runner.supervisor import NotReady, Supervisor
from modelyard_runner.webhook import Sender

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

MAX_BODY = 100 * 1024 * 1024
MAX_ID = 1024
# Bytes of an input from which on a thread decodes the files in it.
MANY = 4 * 1024 * 1024
# Seconds before we look whether the caller is still there, and between signs of life on a stream.
PATIENCE = 0.1
KEEP_ALIVE = 15.0

BUSY = {"detail": "At capacity - all prediction slots busy", "error": "At capacity - all prediction slots busy"}
NOT_READY = "Setup has not finished yet. Wait until it has finished, or GET /health-check for status."
NO_STREAM = "This model does not support streaming responses. Add @cog.streaming to predict() to enable SSE."
NO_TRAINING_STREAM = "Training endpoints do not support streaming responses."

_JSON = (b"content-type", b"application/json")
_STREAM_HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
_encode = msgspec.json.encode


class App:
    """The application. `shutdown` is called when a caller asks for the server's end; `clock` gives microseconds.

    `local_paths`: whether callers may name files of this machine.
    """

    def __init__(
        self,
        supervisor: Supervisor | Crew,
        runs: Runs,
        sender: Sender,
        facts: Facts,
        *,
        shutdown: Callable[[], None],
        clock: Callable[[], int],
        local_paths: bool = True,
    ) -> None:
        self._supervisor = supervisor
        self._local_paths = local_paths
        self._runs = runs
        self._sender = sender
        self._facts = facts
        self._shutdown = shutdown
        self._clock = clock
        self._last_id = 0
        self._waits: set[Wait] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        route = find_route(scope)
        try:
            if route.verb in ("create", "put"):
                await self._create(route, scope, receive, send)
            else:
                await self._other(route, send)
        except RequestError as error:
            await reply(send, error.status, error.body)
        except AtCapacity:
            await reply(send, 409, _encode({**BUSY, "status": "failed"}))
        except NotReady:
            said = not_ready(self._supervisor.state, self._supervisor.error or "")
            await reply(send, 503, _encode({"detail": said, "error": said, "status": "failed"}))

    async def _other(self, route: Route, send: Send) -> None:
        if route.verb == "cancel":
            found = self._runs.cancel(route.id)
            await reply(send, 200 if found else 404, b"{}")
        elif route.verb == "index":
            await reply(send, 200, self._facts.index())
        elif route.verb == "health":
            await reply(send, 200, await self._facts.health())
        elif route.verb == "schema":
            schema = self._facts.schema
            await reply(send, 200 if schema else 503, schema or b'{"error":"OpenAPI schema not available"}')
        elif route.verb == "shutdown":
            await reply(send, 200, b"{}")
            self._shutdown()
        elif route.allow:
            await send_all(send, 405, [(b"allow", route.allow)], b"")
        else:
            await send_all(send, 404, [], b"")

    # Creating ------------------------------------------------------------------------------------------------

    async def _create(self, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        accept: bytes = headers.get(b"accept", b"")
        kind: bytes = headers.get(b"content-type", b"")
        if int(headers.get(b"content-length", 0)) > MAX_BODY:
            raise too_large()
        body = await read(receive)
        streams = b"text/event-stream" in accept
        if streams:
            self._check_streaming(route)
        if self._supervisor.state not in ("READY", "BUSY"):
            raise NotReady
        if kind and not _is_json(kind):
            raise RequestError(415, {"detail": "Expected request with `Content-Type: application/json`"})
        asked = envelope.parse(body)
        if route.verb == "put":
            present = self._present(route, asked)
            if present is not None:
                await (self._attach(present, receive, send) if streams else reply(send, 202, present.state()))
                return
        run = await self._start(route, asked, scope)
        if streams:
            await self._attach(run, receive, send, owner=True)
        elif b"prefer" in headers and _wants_async(headers[b"prefer"]):
            await reply(send, 202, run.state())
        else:
            await self._wait(run, receive, send)

    def _check_streaming(self, route: Route) -> None:
        if route.noun == "training":
            raise RequestError(406, {"error": NO_TRAINING_STREAM})
        if self._supervisor.state in ("READY", "BUSY") and not self._supervisor.streaming:
            raise RequestError(406, {"error": NO_STREAM})

    def _present(self, route: Route, asked: Envelope) -> Run | None:
        """The run that a PUT means, if it is under way. Raises RequestError when body and address disagree."""
        if asked.id is not None and asked.id != route.id:
            said = f"{route.noun} ID must match the ID supplied in the URL"
            raise envelope.invalid([(["body", "id"], said, "value_error")])
        asked.id = route.id
        return self._runs.get(route.id)

    async def _start(self, route: Route, asked: Envelope, scope: Scope) -> Run:
        if asked.id is not None and not 0 < len(asked.id) <= MAX_ID:
            said = f"an id has 1 to {MAX_ID} characters; this one has {len(asked.id)}"
            raise envelope.invalid([(["body", "id"], said, "value_error")])
        checker = self._facts.checker(route.noun)
        values = checker.check(asked.input)
        raw = bytes(asked.input) if isinstance(asked.input, msgspec.Raw) else b""  # b"": it is large
        shown = checker.shown(raw) if 0 < len(raw) <= replies.MAX_SHOWN_INPUT else b""
        if checker.lenient:
            raw = b""  # what the model gets may not be what was sent
        name = self._runs.new_name()
        files: dict[str, str] = {}
        if checker.files:
            intake.check(values, checker.files, local_paths=self._local_paths)
        if checker.files and (length := intake.data_length(values, checker.files)):
            values, files = await self._take_files(values, checker.files, name, length)
            raw = b""
        raw = raw or intake.encode(values)
        now = self._clock()
        id = asked.id or self._new_id(now)
        prediction = Prediction(id, _encode(id), shown, now)
        prediction.former = checker.former
        task = Task(
            name=name,
            kind=self._facts.kind(route.noun),
            input=raw,
            files=files,
            context=asked.context,
            streaming=self._supervisor.streaming and route.noun == "prediction",
        )
        try:
            run = self._runs.start(prediction, task)
        except (AtCapacity, NotReady):
            self._runs.discard(name)
            raise
        if checker.files:
            run.tidy = True
        if asked.webhook:
            self._hook(run, asked, scope)
        return run

    async def _take_files(
        self, values: dict[str, Any], names: frozenset[str], name: str, length: int
    ) -> tuple[dict[str, Any], dict[str, str]]:
        if self._supervisor.state == "BUSY":
            raise AtCapacity  # before the work, not after it
        folder = self._runs.folder(name)
        try:
            if length < MANY:
                return intake.take(values, names, folder)
            return await asyncio.get_running_loop().run_in_executor(None, intake.take, values, names, folder)
        except OSError as error:
            self._runs.discard(name)
            raise RequestError(507, {"detail": f"the input's files cannot be stored: {error.strerror}"}) from error

    def _hook(self, run: Run, asked: Envelope, scope: Scope) -> None:
        traced = {
            name.decode(): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"traceparent", b"tracestate")
        }
        events = None if asked.webhook_events_filter is None else [str(event) for event in asked.webhook_events_filter]
        run.hook = self._sender.open(run.prediction, asked.webhook or "", events, traced)

    def _new_id(self, now: int) -> str:
        self._last_id = max(self._last_id + 1, now * 1000)
        return f"pred_{self._last_id:x}"

    # Answering -----------------------------------------------------------------------------------------------

    async def _wait(self, run: Run, receive: Receive, send: Send) -> None:
        """Answers with the outcome; a caller who leaves before it cancels the prediction."""
        if not run.prediction.ended:
            wait = Wait(run, receive)
            self._waits.add(wait)
            if self._timer is None:
                self._timer = wait.loop.call_later(PATIENCE, self._look)
            try:
                await wait.done
            finally:
                self._waits.discard(wait)
                if wait.watcher is not None:
                    wait.watcher.stop()
        await reply(send, 200, run.state())

    def _look(self) -> None:
        """Watches for those who wait long whether they are still there: the quick ones cost nothing."""
        self._timer = None
        for wait in self._waits:
            if wait.watcher is None:
                if wait.old:
                    wait.watch(self._runs.cancel_run)
                wait.old = True
        if self._waits:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._look)

    async def _attach(self, run: Run, receive: Receive, send: Send, *, owner: bool = False) -> None:
        """Sends events until the end; the owner of the stream cancels its prediction by leaving."""
        if run.stream is None:
            raise RequestError(406, {"error": NO_STREAM})
        try:
            reader = run.stream.attach(ended=run.prediction.ended)
        except sse.TooManyReaders:
            raise RequestError(429, {"error": "Too many stream subscribers"}) from None

        def left() -> None:
            gone.append(True)
            reader.close()
            if owner:
                self._runs.cancel_run(run)

        gone: list[bool] = []
        watcher = Watcher(left)
        watcher.start(receive)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _STREAM_HEADERS})
            while not gone:
                closed = reader.closed
                data = reader.take()
                if data:
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                elif closed:
                    await send({"type": "http.response.body", "body": b""})
                    return
                elif not await reader.wait(KEEP_ALIVE):
                    await send({"type": "http.response.body", "body": sse.KEEP_ALIVE, "more_body": True})
        finally:
            watcher.stop()
            run.stream.detach(reader)


class Wait:
    """One who waits for an outcome."""

    __slots__ = ("done", "loop", "old", "receive", "run", "watcher")

    def __init__(self, run: Run, receive: Receive) -> None:
        self.loop = asyncio.get_running_loop()
        self.run = run
        self.receive = receive
        self.done: asyncio.Future[None] = self.loop.create_future()
        self.watcher: Watcher | None = None
        self.old = False
        run.on_end = self.end

    def end(self) -> None:
        """The outcome is there."""
        if not self.done.done():
            self.done.set_result(None)

    def watch(self, on_leave: Callable[[Run], None]) -> None:
        """Look from now on whether somebody still waits."""
        self.watcher = Watcher(lambda: on_leave(self.run))
        self.watcher.start(self.receive)


class Watcher:
    """Looks whether a caller is still there."""

    def __init__(self, on_leave: Callable[[], None]) -> None:
        self._on_leave = on_leave
        self._task: asyncio.Task[None] | None = None

    def start(self, receive: Receive) -> None:
        """Looks from now on."""
        self._task = asyncio.get_running_loop().create_task(self._look(receive))

    async def _look(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._on_leave()

    def stop(self) -> None:
        """Looks no more."""
        if self._task is not None:
            self._task.cancel()


async def read(receive: Receive) -> bytes:
    """A request's body. Raises RequestError when it is too large."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    pieces = [body]
    size = len(body)
    while message.get("more_body"):
        message = await receive()
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > MAX_BODY:
            raise too_large()
    return b"".join(pieces)


def not_ready(state: str, error: str) -> str:
    """Why no prediction can begin."""
    if state == "DEFUNCT":
        return f"There is no worker any more. {error}"
    if state != "SETUP_FAILED":
        return NOT_READY
    # Who waits would wait for ever, so the truth comes first; Cog's words for both cases are looked for by programs.
    begin = error.rfind("Setup failed: ")
    why = error[begin:] if begin >= 0 else f"Setup failed: {error}"
    return f"{why.strip()}\nNothing can run before the model is loaded again. In Cog's words: {NOT_READY}"


def too_large() -> RequestError:
    """The answer to a body over the limit."""
    said = "Failed to buffer the request body: length limit exceeded"
    return RequestError(413, {"detail": f"{said} ({MAX_BODY} bytes)"})


async def reply(send: Send, status: int, body: bytes) -> None:
    """One JSON answer."""
    headers = [_JSON, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_all(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """One answer of any kind."""
    headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _is_json(kind: bytes) -> bool:
    kind = kind.partition(b";")[0].strip().lower()
    return kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json"))


def _wants_async(prefer: bytes) -> bool:
    return any(part.strip().partition(b";")[0].strip().lower() == b"respond-async" for part in prefer.split(b","))
