"""A prediction as the JSON that callers see: in replies, in lists, in webhooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from modelyard.models.interface import Interface
from modelyard.predictions.hidden import REDACTED
from modelyard.predictions.live import Live
from modelyard.predictions.outputs import Outputs
from modelyard.predictions.record import Prediction, Status

_NULL = msgspec.Raw(b"null")
_EMPTY = msgspec.Raw(b"{}")
_UNKNOWN = Interface()


class Urls(msgspec.Struct):
    """Where a prediction is seen, asked for, stopped and followed."""

    get: str
    cancel: str
    stream: str
    web: str


class Document(msgspec.Struct, kw_only=True):
    """The wire form, keys in the order in which they are written. Values that are JSON already pass through."""

    id: str
    model: str
    version: str
    input: msgspec.Raw
    logs: str | msgspec.UnsetType | None = msgspec.UNSET
    output: msgspec.Raw
    data_removed: bool
    error: str | None
    source: str
    status: str
    created_at: str
    started_at: str | msgspec.UnsetType = msgspec.UNSET
    completed_at: str | msgspec.UnsetType = msgspec.UNSET
    deadline: str | msgspec.UnsetType = msgspec.UNSET
    deployment: str | msgspec.UnsetType = msgspec.UNSET
    metrics: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    webhook: str | msgspec.UnsetType = msgspec.UNSET
    webhook_events_filter: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    urls: Urls


class Renderer:
    """Makes documents. `time_text` writes microseconds as ISO 8601."""

    def __init__(self, outputs: Outputs, time_text: Callable[[int], str]) -> None:
        self._outputs = outputs
        self._time = time_text
        self._encode = msgspec.json.Encoder().encode

    def document(
        self,
        record: Prediction,
        origin: str,
        interface: Interface = _UNKNOWN,
        *,
        live: Live | None = None,
        as_created: bool = False,
        status: str | None = None,
    ) -> Document:
        """`live`: its state in memory, while it runs. `as_created`: show it as it was accepted, whatever it does now.

        `origin` is where its reader finds this yard; `status` replaces the word.
        """
        running = live if live is not None and not record.terminal else None
        shown = Document(
            id=record.id,
            model=record.model,
            version=record.version_id,
            input=self.input(record, interface),
            logs=_shown_logs(record) if running is None else _logs(running),
            output=self._output(record, None if as_created else running, origin),
            data_removed=record.data_removed,
            error=record.error,
            source=record.source,
            status=status or (Status.STARTING.value if as_created else record.status.value),
            created_at=self._time(record.created_at),
            urls=self.urls(record, origin, interface),
        )
        if not as_created:
            self._add_progress(shown, record, running)
        if record.deadline_at is not None:
            shown.deadline = self._time(record.deadline_at)
        if record.deployment is not None:
            shown.deployment = record.deployment
        if record.webhook is not None:
            shown.webhook = record.webhook
            if record.webhook_events is not None:
                shown.webhook_events_filter = record.webhook_events
        return shown

    def render(self, record: Prediction, origin: str, interface: Interface = _UNKNOWN, **options: Any) -> bytes:
        """The same as bytes of JSON."""
        return self._encode(self.document(record, origin, interface, **options))

    def _add_progress(self, shown: Document, record: Prediction, running: Live | None) -> None:
        if record.started_at is not None:
            shown.started_at = self._time(record.started_at)
        if record.completed_at is not None:
            shown.completed_at = self._time(record.completed_at)
        if record.metrics is not None:
            shown.metrics = msgspec.Raw(record.metrics)
        elif running is not None and running.metrics:
            shown.metrics = msgspec.Raw(self._encode(running.metrics))

    def _output(self, record: Prediction, running: Live | None, origin: str) -> msgspec.Raw:
        output = record.output
        # Until its outcome is committed, only the items of an iterator may be shown; anything else is an outcome.
        if output is None and running is not None and running.iterates:
            output = running.journal.output()
        return _NULL if output is None else msgspec.Raw(self._outputs.render(output, origin.encode()))

    def input(self, record: Prediction, interface: Interface) -> msgspec.Raw:
        """The input as its caller sent it, secrets hidden."""
        if record.data_removed:
            return _EMPTY
        if not interface.secrets:
            return msgspec.Raw(record.input)
        values = msgspec.json.decode(record.input, type=dict[str, msgspec.Raw])
        hidden = msgspec.Raw(self._encode(REDACTED))
        return msgspec.Raw(self._encode({k: hidden if k in interface.secrets else v for k, v in values.items()}))

    def urls(self, record: Prediction, origin: str, interface: Interface) -> Urls:
        """The addresses of a prediction. A stream of files has another path: clients tell by it what the items are."""
        get = f"{origin}/v1/predictions/{record.id}"
        kind = "files" if interface.file_output else "streams"
        return Urls(
            get=get,
            cancel=get + "/cancel",
            stream=f"{origin}/v1/{kind}/{self._outputs.stream_token(record.id)}",
            web=f"{origin}/p/{record.id}",
        )


def _shown_logs(record: Prediction) -> str | None:
    return None if record.data_removed else record.logs


def _logs(live: Live) -> str:
    return live.journal.log() if live.journal.log_bytes else ""
