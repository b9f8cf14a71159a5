"""A prediction as a page, and the parts of one that change while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from modelyard import rest
from modelyard.accounts import Actor
from modelyard.predictions.journal import LOG, SHOWN_LOG_BYTES, Entry, Journal
from modelyard.predictions.live import Live
from modelyard.predictions.record import Prediction, Status
from modelyard.web import pages, shown, words
from modelyard.web.attached import filled
from modelyard.web.base import Web, member, prediction_of

LOG_CHARACTERS = 200_000
MORE_MEDIA = 5000
_PART_BYTES = 1024 * 1024  # of a journal that are read at a time
# Kept by the yard itself, and shown as times.
_TIMES = ("predict_time", "total_time")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """All that a page says of one prediction. Times in seconds, None where there is none yet.

    `after`: how much of its stream is on the page already. `error` is the model's own last words, `traceback` the rest.
    """

    record: Prediction
    phase: str
    sentence: str
    waited: float
    ran: float | None
    output: shown.View
    logs: str
    logs_cut: bool
    error: str
    traceback: str
    metrics: Mapping[str, Any]
    stream: str | None
    after: str
    text: bool
    iterator: bool

    @property
    def live(self) -> bool:
        """Will it still change?"""
        return not self.record.terminal


async def look(web: Web, actor: Actor, record: Prediction, *, media: int = shown.MEDIA) -> Shown:
    """What there is to say of it now."""
    live = web.predictions.lives.get(record.id)
    interface = await web.models.interface_of(record.model_id, record.version_id)
    phase, sentence = _state(web, record)
    body = None if record.output is None else web.outputs.render(record.output, b"")
    metrics = msgspec.json.decode(record.metrics) if record.metrics else (dict(live.metrics) if live else {})
    error, traceback = _words(record.error or "")
    end = record.completed_at or web.clock()
    begun = record.started_at or end
    return Shown(
        record=record,
        phase=phase,
        sentence=sentence,
        waited=max(0, begun - record.created_at) / 1e6,
        ran=None if record.started_at is None else max(0, end - record.started_at) / 1e6,
        output=await filled(web, actor, shown.view(body, concatenate=interface.concatenate, media=media)),
        logs=record.logs[-LOG_CHARACTERS:],
        logs_cut=len(record.logs) > LOG_CHARACTERS or (live is not None and live.journal.log_bytes > SHOWN_LOG_BYTES),
        error=error,
        traceback=traceback,
        metrics={name: value for name, value in metrics.items() if name not in _TIMES},
        stream=None if record.terminal else f"/v1/streams/{web.outputs.stream_token(record.id)}",
        after=_position(record, live),
        text=interface.streams_text,
        iterator=interface.iterator,
    )


def _state(web: Web, record: Prediction) -> tuple[str, str]:
    """The phase (queued, setup, run, end) and one line on what is happening."""
    if record.status is Status.STARTING:
        outlook = web.machine.outlook(record.model_id, record.version_id, record.id)
        return outlook.phase, outlook.words
    seconds = words.duration(((record.completed_at or web.clock()) - (record.started_at or record.created_at)) / 1e6)
    said = {
        Status.PROCESSING: f"running, {seconds}",
        Status.SUCCEEDED: f"in {seconds}",
        Status.FAILED: f"after {seconds}",
        Status.CANCELED: f"after {seconds}" if record.started_at else "before it began",
        Status.ABORTED: "its deadline passed before it began",
    }
    return "end" if record.terminal else "run", said[record.status]


def _words(error: str) -> tuple[str, str]:
    """The last words of an error, and the whole of it where that is more."""
    lines = error.rstrip().splitlines()
    return (lines[-1].strip(), error.rstrip()) if len(lines) > 1 else (error.strip(), "")


def _position(record: Prediction, live: Live | None) -> str:
    """Items and characters of log that a stream of it would have sent by now."""
    if live is None or record.terminal:
        return "0-0"
    journal = live.journal
    # More may have come since the record was taken; only of a log that is cut the record does not tell how long it was.
    characters = len(record.logs) if journal.log_bytes <= SHOWN_LOG_BYTES else journal.log_characters
    return f"{journal.items if live.iterates else 0}-{characters}"


async def inputs_of(web: Web, record: Prediction) -> dict[str, Any]:
    """Its input, secrets hidden, as values."""
    interface = await web.models.interface_of(record.model_id, record.version_id)
    values: dict[str, Any] = msgspec.json.decode(web.renderer.input(record, interface))
    return {name: value for name, value in values.items() if name not in interface.secrets}


async def _found(web: Web, request: Request) -> tuple[Actor, Prediction]:
    actor = await member(web, request)
    return actor, await prediction_of(web, request.path_params["prediction_id"], actor)


async def get(web: Web, request: Request) -> Response:
    """`GET /p/{id}`."""
    actor, record = await _found(web, request)
    interface = await web.models.interface_of(record.model_id, record.version_id)
    values = msgspec.json.decode(web.renderer.input(record, interface), type=dict[str, Any])
    return pages.page(
        web,
        request,
        actor,
        "prediction.html",
        data=f"/v1/predictions/{record.id}",
        run=await look(web, actor, record, media=_media(request)),
        record=record,
        inputs={name: await filled(web, actor, shown.of(value)) for name, value in values.items()},
    )


def _media(request: Request) -> int:
    wanted = request.query_params.get("items", "")
    return min(int(wanted), MORE_MEDIA) if wanted.isascii() and wanted.isdigit() and len(wanted) < 8 else shown.MEDIA


async def result(web: Web, request: Request) -> Response:
    """`GET /p/{id}/result`: the part of a page that shows what came of it."""
    actor, record = await _found(web, request)
    run = await look(web, actor, record, media=_media(request))
    text = pages.render("_result.html", run=run, record=record, now=web.clock())
    return pages.html(request, text)


async def logs(web: Web, request: Request) -> Response:
    """`GET /p/{id}/logs`: all that is kept of the log, as plain text."""
    _, record = await _found(web, request)
    live = web.predictions.lives.get(record.id)
    if live is not None:
        text = await _so_far(live.journal)
    else:
        text = await asyncio.to_thread(lambda: "".join(_texts(web.predictions.read_journal(record).read())))
    return _download(text.encode("utf-8", "replace"), "text/plain; charset=utf-8", f"{record.id}.log")


async def _so_far(journal: Journal) -> str:
    """The whole log of one that runs. It belongs to this thread, so it is read a part at a time, and others have
    their turn in between."""
    texts: list[str] = []
    offset, behind = 0, -1
    while offset != behind:
        part, behind = [], offset
        for entry in journal.read(offset):
            part.append(entry)
            offset = entry.end
            if offset - behind > _PART_BYTES:
                break
        texts += _texts(part)
        await asyncio.sleep(0)
    return "".join(texts)


def _texts(entries: Iterable[Entry]) -> Iterator[str]:
    return (msgspec.json.decode(entry.body, type=str) for entry in entries if entry.kind == LOG)


async def output(web: Web, request: Request) -> Response:
    """`GET /p/{id}/output`: the whole output to keep: a text as text, anything else as JSON."""
    _, record = await _found(web, request)
    origin = web.addresses.origin(request.scope).encode()
    body = web.outputs.render(record.output or b"null", origin)
    interface = await web.models.interface_of(record.model_id, record.version_id)
    value = msgspec.json.decode(body)
    if isinstance(value, str) or (interface.concatenate and isinstance(value, list)):
        plain = value if isinstance(value, str) else "".join(map(str, value))
        return _download(plain.encode("utf-8", "replace"), "text/plain; charset=utf-8", f"{record.id}.txt")
    return _download(msgspec.json.format(body, indent=2), "application/json", f"{record.id}.json")


def _download(body: bytes, content_type: str, name: str) -> Response:
    headers = {
        "content-disposition": f'attachment; filename="{name}"',
        "content-security-policy": "sandbox; default-src 'none'",
        "x-content-type-options": "nosniff",
    }
    response = Response(body, headers=headers, media_type=content_type)
    response.raw_headers.append(rest.NO_STORE)
    return response
