"""Predictions as server-sent events: `output`, `logs`, `error`, `done`, each with an id that a reader may resume from.

An id is `ITEMS-CHARACTERS`: how many output events and how many characters of log came so far, this one included. It
means the same while a prediction runs and when only its row is left. Whoever has seen `done` gets 204, which ends
the reconnecting of browsers. `?after=ID` is for readers who cannot send the header `Last-Event-ID` the first time;
with `?state=1` there are `state` events too: what a prediction waits for, in words, as long as it waits; with `?join=1`
pieces of one text that came together are one event.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from modelyard import errors, rest
from modelyard.api.base import Deps
from modelyard.models.interface import Interface
from modelyard.predictions import journal as journals
from modelyard.predictions.live import Live
from modelyard.predictions.record import Prediction, Status

PING_SECONDS = 10.0
PING = b": ping\n\n"
# Events that wait together leave together, up to this size.
_CHUNK_BYTES = 64 * 1024
_ID = re.compile(r"(\d{1,15})-(\d{1,15})(-[ed])?")
HEADERS = [*rest.EVENT_STREAM, (b"access-control-allow-origin", b"*")]
STATE_SECONDS = 1.0
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_LINES = re.compile(r"\r\n|\r|\n")


def event(name: bytes, event_id: bytes, data: str) -> bytes:
    """One event; every line of its data gets a field of its own."""
    if "\n" in data or "\r" in data:
        data = "\ndata: ".join(_LINES.split(data))
    return b"event: %b\nid: %b\ndata: %b\n\n" % (name, event_id, data.encode("utf-8", "replace"))


def _plain_texts(body: bytes) -> list[bytes] | None:
    """The texts in a JSON list of nothing but texts without escapes, as most tokens are; None for any other list."""
    if b"\\" in body or not body.startswith(b'["') or not body.endswith(b'"]'):
        return None
    # Without a backslash no text holds a quotation mark, so each has exactly its own two.
    texts = body[2:-2].split(b'","')
    return texts if body.count(b'"') == 2 * len(texts) else None


class _Writer:
    """Turns facts into events, counting; skips what its reader has seen."""

    def __init__(
        self, deps: Deps, origin: str, interface: Interface, seen: tuple[int, int], *, join: bool = False
    ) -> None:
        self._render = deps.outputs.render
        self._placeholder = deps.outputs.placeholder
        self._origin = origin.encode()
        self._files = interface.file_output and not interface.iterator
        self._join = join and interface.concatenate
        self._seen_items, self._seen_characters = seen
        self.items = 0
        self.characters = 0

    def again(self) -> None:
        """What was said is void: it begins from nothing, and all of it is news."""
        self.items = self.characters = self._seen_items = self._seen_characters = 0

    def outputs(self, body: bytes) -> bytes:
        """The events of output items that came together (a JSON list)."""
        if self._join:
            return self._joined(_ITEMS.decode(body))
        plain = None if self._files or self.items < self._seen_items else _plain_texts(body)
        if plain is None or self._placeholder in body:
            return b"".join([self.output(bytes(item)) for item in _ITEMS.decode(body)])
        first, self.items = self.items + 1, self.items + len(plain)
        head = b"event: output\nid: %%d-%d\ndata: %%b\n\n" % self.characters
        return b"".join([head % (number, text) for number, text in enumerate(plain, first)])

    def _joined(self, items: list[msgspec.Raw]) -> bytes:
        unseen = items[max(0, self._seen_items - self.items) :]
        self.items += len(items)
        texts = [msgspec.json.decode(item) for item in unseen]
        return event(b"output", self._id(), "".join(map(str, texts))) if texts else b""

    def output(self, body: bytes) -> bytes:
        """The event(s) of one output item (JSON)."""
        if self._files and body[:1] == b"[":
            # Clients take each event of a stream of files for one file.
            return b"".join([self._item(bytes(item)) for item in _ITEMS.decode(body)])
        return self._item(body)

    def _item(self, body: bytes) -> bytes:
        self.items += 1
        if self.items <= self._seen_items:
            return b""
        if self._placeholder in body:
            body = self._render(body, self._origin)
        if body[:1] != b'"':
            return b"event: output\nid: %d-%d\ndata: %b\n\n" % (self.items, self.characters, body)
        if b"\\" not in body:
            return b"event: output\nid: %d-%d\ndata: %b\n\n" % (self.items, self.characters, body[1:-1])
        return event(b"output", self._id(), msgspec.json.decode(body, type=str))

    def log(self, text: str) -> bytes:
        """The event of a piece of log."""
        unseen = max(0, self._seen_characters - self.characters)
        self.characters += len(text)
        return event(b"logs", self._id(), text[unseen:]) if len(text) > unseen else b""

    def end(self, record: Prediction) -> bytes:
        """The events that say how it ended."""
        if record.status is Status.SUCCEEDED:
            return self._done("{}")
        if record.status is Status.FAILED:
            return self.error(record.error or "The prediction failed.")
        return self._done('{"reason": "canceled"}')

    def error(self, detail: str) -> bytes:
        """The events of a failure."""
        data = msgspec.json.encode({"detail": detail}).decode()
        return event(b"error", self._id() + b"-e", data) + self._done('{"reason": "error"}')

    def _done(self, data: str) -> bytes:
        return event(b"done", self._id() + b"-d", data)

    def _id(self) -> bytes:
        return b"%d-%d" % (self.items, self.characters)


async def serve(
    deps: Deps,
    scope: rest.Scope,
    receive: rest.Receive,
    send: rest.Send,
    prediction_id: str,
    *,
    status: int = 200,
    headers: list[tuple[bytes, bytes]] | None = None,
) -> None:
    """Answer with the prediction's events until it has ended or the reader is gone. Raises NotFound."""
    query = QueryParams(scope["query_string"]) if scope["query_string"] else QueryParams()
    last = rest.header(scope, b"last-event-id").decode("latin-1").strip() or query.get("after", "")
    resume = _ID.fullmatch(last)
    if resume is not None and resume[3] == "-d":
        await rest.reply(scope, send, 204, [rest.NO_STORE], b"")
        return
    live = await deps.predictions.revive(prediction_id)
    record = live.record if live is not None else await deps.predictions.get(prediction_id)
    if record is None:
        raise errors.NotFound("There is no such prediction.")
    if live is not None:
        await live.committed()
    interface = await deps.models.interface_of(record.model_id, record.version_id)
    seen = (0, 0) if resume is None else (int(resume[1]), int(resume[2]))
    writer = _Writer(deps, deps.addresses.origin(scope), interface, seen, join=query.get("join") == "1")
    await send({"type": "http.response.start", "status": status, "headers": [*HEADERS, *(headers or [])]})
    if live is None:
        for chunk in _chunks(_told(record, interface, writer)):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    else:
        await _Follower(live, writer, _state_of(deps, live) if query.get("state") == "1" else None).run(receive, send)
    await send({"type": "http.response.body", "body": b""})


def _chunks(events: Iterator[bytes]) -> Iterator[bytes]:
    waiting: list[bytes] = []
    size = 0
    for one in events:
        waiting.append(one)
        size += len(one)
        if size >= _CHUNK_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def _told(record: Prediction, interface: Interface, writer: _Writer) -> Iterator[bytes]:
    """The events of a prediction of which only the row is left: logs, then output, then the end."""
    if record.data_removed:
        yield b": the data of this prediction was removed\n\n"
    if record.logs:
        yield writer.log(record.logs)
    if record.output is not None:
        if interface.iterator and record.output[:1] == b"[":
            yield writer.outputs(record.output)
        else:
            yield writer.output(record.output)
    yield writer.end(record)


def _state_of(deps: Deps, live: Live) -> Callable[[], bytes]:
    """What makes the event of what it waits for, or of its start."""

    def state() -> bytes:
        record = live.record
        if record.status is not Status.STARTING:
            told = {"status": "processing", "phase": "run", "words": "running"}
        else:
            outlook = deps.machine.outlook(record.model_id, record.version_id, record.id)
            told = {"status": "starting", "phase": outlook.phase, "words": outlook.words}
        return b"event: state\ndata: %b\n\n" % msgspec.json.encode(told)

    return state


class _Follower:
    """Sends what a prediction says while it says it. `state`: what makes an event of its state, if that is wanted."""

    def __init__(self, live: Live, writer: _Writer, state: Callable[[], bytes] | None = None) -> None:
        self._live = live
        self._writer = writer
        self._state = state
        self._state_told = b""
        self._offset = 0  # of the journal: what is before it was sent
        self._gone = False
        self._news: asyncio.Future[None] | None = None

    async def run(self, receive: rest.Receive, send: rest.Send) -> None:
        """Until the end, or until the reader is gone."""
        unfollow = self._live.follow(self._changed)
        self._live.watched += 1
        leaving = asyncio.ensure_future(self._await_leaving(receive))
        try:
            if not self._has_news():
                # A reader learns at once that the stream is open.
                await send({"type": "http.response.body", "body": b": hi\n\n", "more_body": True})
            while not self._gone:
                ended = self._live.record.terminal or self._live.failure is not None
                chunk = self._news_of_state(ended) + self._take(ended)
                if chunk:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                elif ended:
                    end = self._end()
                    await send({"type": "http.response.body", "body": end, "more_body": True})
                    return
                elif not await self._wait():
                    await send({"type": "http.response.body", "body": PING, "more_body": True})
        finally:
            self._live.watched -= 1
            unfollow()
            leaving.cancel()

    def _news_of_state(self, ended: bool) -> bytes:
        if self._state is None or ended:
            return b""
        told, before = self._state(), self._state_told
        self._state_told = told
        return b"" if told == before else told

    @property
    def _patience(self) -> float:
        """Seconds after which a reader is told something, news or not."""
        waits = self._state is not None and self._live.record.status is Status.STARTING
        return STATE_SECONDS if waits else PING_SECONDS

    def _changed(self, live: Live) -> None:
        if live.journal.end < self._offset:
            # Its worker was lost; it runs again from nothing.
            self._offset = 0
            self._writer.again()
        self._wake()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def _await_leaving(self, receive: rest.Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._wake()

    def _has_news(self) -> bool:
        live = self._live
        if live.record.terminal or live.failure is not None or self._gone:
            return True
        if self._state is not None and self._state() != self._state_told:
            return True
        return live.journal.end > self._offset and self._may_show()

    def _may_show(self) -> bool:
        # What stands there in the moment between an outcome and its commit belongs to the outcome and is shown after
        # it, unless it was said item by item before.
        return not self._live.ending or self._live.iterates

    async def _wait(self) -> bool:
        """Until there is news; False when patience ended before that."""
        if self._has_news():
            return True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        while not self._has_news():
            news = self._news = loop.create_future()
            timer = loop.call_at(deadline, self._wake)
            await news
            timer.cancel()
            if loop.time() >= deadline:
                return self._has_news()
        return True

    def _take(self, ended: bool) -> bytes:
        """Some of what the journal holds and was not sent. Taken in one go: while a reader is awaited, it moves on."""
        if not ended and not self._may_show():
            return b""
        taken: list[bytes] = []
        size = 0
        for entry in self._live.journal.read(self._offset):
            self._offset = entry.end
            if entry.kind == journals.OUTPUT:
                taken.append(self._writer.outputs(entry.body))
            elif entry.kind == journals.LOG:
                taken.append(self._writer.log(msgspec.json.decode(entry.body, type=str)))
            else:
                continue
            size += len(taken[-1])
            if size >= _CHUNK_BYTES:
                break
        return b"".join(taken)

    def _end(self) -> bytes:
        if self._live.failure is not None:
            return self._writer.error("The prediction could not be stored.")
        return self._writer.end(self._live.record)


class StreamResponse(Response):
    """A stream as a response that a route may return."""

    def __init__(self, deps: Deps, prediction_id: str) -> None:
        super().__init__()
        self._deps = deps
        self._prediction_id = prediction_id

    async def __call__(self, scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
        """Answer."""
        await serve(self._deps, scope, receive, send, self._prediction_id)


async def get(deps: Deps, request: Request) -> Response:
    """`GET /v1/streams/{token}`: the token is the permission."""
    prediction_id = deps.outputs.verify_stream(request.path_params["token"])
    if prediction_id is None or await deps.predictions.get(prediction_id) is None:
        raise errors.NotFound("There is no such stream.")
    return StreamResponse(deps, prediction_id)
