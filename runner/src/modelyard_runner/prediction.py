"""One prediction of the box as a pure state machine: the worker's frames in, its state and what changed out.

Knows no clock, no socket and no HTTP; values stay the JSON that they came as.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, Literal, NamedTuple

import msgspec

from modelyard_runner import frames

Status = Literal["starting", "processing", "succeeded", "failed", "canceled"]
# What a frame changed.
Event = Literal["start", "log", "output", "metric", "completed"]

# Characters of logs that are kept: a bit more than this, the last ones.
MAX_LOGS = 8 * 1024 * 1024
CUT = "[earlier logs were left out]\n"


class Moment(NamedTuple):
    """How far a prediction was while it ran: so many pieces of output, so many characters of logs."""

    items: int
    logged: int


class Prediction:
    """The state of one prediction. Times are microseconds since 1970, in UTC; 0: not yet.

    `key` is the id as JSON, `input` the input as it may be shown (b"": not at all).
    """

    __slots__ = (
        "_iterated",
        "_log_size",
        "_logs",
        "_seconds",
        "completed_at",
        "created_at",
        "error",
        "former",
        "id",
        "input",
        "items",
        "key",
        "logged",
        "metrics",
        "output",
        "started_at",
        "status",
    )

    def __init__(self, id: str, key: bytes, input: bytes, created_at: int) -> None:
        self.id = id
        self.key = key
        self.input = input
        self.created_at = created_at
        self.started_at = 0
        self.completed_at = 0
        self.status: Status = "starting"
        self.error: str | None = None
        # Whether its model is one for a Cog up to 0.16, whose replies had all keys.
        self.former = False
        self.metrics: dict[str, Any] = {}
        # Pieces of an iterator's output as JSON without the list's brackets; they stay when it fails on its way.
        self.items: list[bytes] = []
        # The whole output as JSON; None: there is none, or it is in `items`.
        self.output: bytes | None = None
        # Characters that it printed, the ones that were left out included.
        self.logged = 0
        self._iterated = False
        self._seconds = 0.0
        self._logs: list[str] = []
        self._log_size = 0

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.completed_at != 0

    @property
    def logs(self) -> str:
        """What it printed."""
        if len(self._logs) > 1:
            self._logs = ["".join(self._logs)]
        return self._logs[0] if self._logs else ""

    @property
    def seconds(self) -> float | None:
        """How long the model's code ran; None before it is over."""
        return self._seconds if self.ended else None

    def result(self) -> bytes | None:
        """The output so far, as JSON; None: there is none to show."""
        if self.output is not None:
            return self.output
        return b"[%b]" % b",".join(self.items) if self.items or self._iterated else None

    def moment(self) -> Moment:
        """How far it is now."""
        return Moment(len(self.items), self.logged)

    def result_at(self, moment: Moment) -> bytes | None:
        """The output as it was then."""
        return b"[%b]" % b",".join(islice(self.items, moment.items)) if moment.items else None

    def logs_at(self, moment: Moment) -> str:
        """What it had printed then."""
        logs = self.logs
        return logs[: max(0, len(logs) - (self.logged - moment.logged))]

    def apply(self, frame: frames.Frame, now: int) -> Event | None:
        """Moves on by one frame; says what changed. None: nothing, as after the end."""
        if self.completed_at:
            return None
        kind = type(frame)
        if kind is frames.Done:
            return self._done(frame, now)  # type: ignore[arg-type]
        if kind is frames.Started:
            self.started_at = now
            self.status = "processing"
            return "start"
        if isinstance(frame, frames.Log):
            self.add_log(frame.text)
            return "log"
        if isinstance(frame, frames.Output):
            return self._add_items(frame)
        if isinstance(frame, frames.Metric):
            fold(self.metrics, frame.name, msgspec.json.decode(frame.value), frame.mode)
            return "metric"
        if isinstance(frame, frames.Failed):
            self.add_log(frame.traceback)
            self.error = f"Prediction failed: {frame.error}" if frame.traceback else frame.error
            return self._end("failed", frame.seconds, now)
        if isinstance(frame, frames.Canceled):
            return self._end("canceled", frame.seconds, now)
        return None

    def _add_items(self, frame: frames.Output) -> Event | None:
        piece = bytes(frame.values)[1:-1]
        if piece:
            self.items.append(piece)
        return "output"

    def _done(self, frame: frames.Done, now: int) -> Event:
        if frame.iterator:
            self._iterated = True
        else:
            self.output = bytes(frame.output)
        return self._end("succeeded", frame.seconds, now)

    def _end(self, status: Status, seconds: float, now: int) -> Event:
        if self.started_at and not seconds:  # its worker is gone, and nobody told how long it ran
            seconds = (now - self.started_at) / 1e6
        self.started_at = self.started_at or now - int(seconds * 1e6)
        self.completed_at = now
        self.status = status
        self._seconds = seconds
        return "completed"

    def add_log(self, text: str) -> None:
        """Keeps what was printed; of very much only the end."""
        if not text:
            return
        self._logs.append(text)
        self._log_size += len(text)
        self.logged += len(text)
        if self._log_size > 2 * MAX_LOGS:
            self._logs = [CUT, "".join(self._logs)[-MAX_LOGS:]]
            self._log_size = MAX_LOGS


def fold(metrics: dict[str, Any], name: str, value: Any, mode: str) -> None:
    """Records a metric; dots in its name nest. None deletes. What does not fit in its place replaces what is there."""
    *parents, last = name.split(".")
    at = metrics
    for parent in parents:
        inner = at.get(parent)
        if not isinstance(inner, dict):
            if value is None:
                return
            inner = at[parent] = {}
        at = inner
    present = at.get(last)
    if value is None:
        at.pop(last, None)
    elif mode == "append":
        at[last] = [*present, value] if isinstance(present, list) else [value]
    elif mode in ("increment", "incr") and isinstance(present, (int, float)) and not isinstance(present, bool):
        at[last] = present + value
    else:
        at[last] = value
