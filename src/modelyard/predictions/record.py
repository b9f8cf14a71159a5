"""The record of one prediction and its legal moves: pure functions of a record, a fact and a time.

    starting ──start──▶ processing ──finish──▶ succeeded | failed | canceled
        │  ▲                │
        │  └───requeue──────┘            (its worker is gone through no fault of its own; attempts are counted)
        └──finish──▶ failed | canceled | aborted

Status words are Replicate's. `aborted` is for what ended before it ever started because its deadline passed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec


class Status(StrEnum):
    """Where a prediction is in its life; the words of the API."""

    STARTING = "starting"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    ABORTED = "aborted"


TERMINAL: Final = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELED, Status.ABORTED})

# A prediction whose worker was lost with its host or its yard is run again at most this often.
MAX_ATTEMPTS: Final = 3
MAX_METRICS: Final = 1000

_LEGAL: Final = {
    Status.STARTING: frozenset({Status.PROCESSING, Status.SUCCEEDED, Status.FAILED, Status.CANCELED, Status.ABORTED}),
    Status.PROCESSING: frozenset({Status.STARTING, Status.SUCCEEDED, Status.FAILED, Status.CANCELED}),
}


class IllegalMove(Exception):
    """A fact arrived that this prediction's state does not allow: it is stale and must be dropped."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `predictions`. Times are microseconds since 1970 (UTC); `input`, `output`, `metrics` are JSON text.

    `output` may hold links to output files in placeholder form (`outputs.Outputs.render` makes them absolute).
    `journal` says that output and logs are (also) in the prediction's journal file, because they are long.
    `secrets` holds, sealed, what was taken out of `input`, until the prediction ends.
    """

    id: str
    kind: str = "prediction"
    account_id: str
    model_id: str
    model: str
    version_id: str
    deployment: str | None = None
    status: Status = Status.STARTING
    source: str = "api"
    input: bytes = b"{}"
    output: bytes | None = None
    logs: str = ""
    error: str | None = None
    metrics: bytes | None = None
    webhook: str | None = None
    webhook_events: tuple[str, ...] | None = None
    context: dict[str, str] | None = None
    created_at: int
    started_at: int | None = None
    completed_at: int | None = None
    deadline_at: int | None = None
    cancel_requested_at: int | None = None
    run_timeout_seconds: float | None = None
    attempts: int = 0
    lease_node: str | None = None
    lease_epoch: int | None = None
    instance_id: str | None = None
    journal: bool = False
    data_removed: bool = False
    secrets: str | None = None

    @property
    def terminal(self) -> bool:
        """Has it ended, for good?"""
        return self.status in TERMINAL


def _check(record: Prediction, to: Status) -> None:
    if to not in _LEGAL.get(record.status, frozenset()):
        raise IllegalMove(f"prediction {record.id} is {record.status.value}, it cannot become {to.value}")


def claim(record: Prediction, *, node: str, epoch: int, instance: str) -> Prediction:
    """An instance takes it. Raises IllegalMove when it is not waiting."""
    if record.status is not Status.STARTING or record.instance_id is not None:
        raise IllegalMove(f"prediction {record.id} is not waiting")
    return msgspec.structs.replace(
        record, lease_node=node, lease_epoch=epoch, instance_id=instance, attempts=record.attempts + 1
    )


def start(record: Prediction, at: int) -> Prediction:
    """The model's code began."""
    _check(record, Status.PROCESSING)
    return msgspec.structs.replace(record, status=Status.PROCESSING, started_at=at)


def requeue(record: Prediction, *, count: bool) -> Prediction:
    """Back to the queue: its worker is gone. `count=False` gives the attempt back (the worker never received it)."""
    if record.terminal:
        raise IllegalMove(f"prediction {record.id} has ended")
    return msgspec.structs.replace(
        record,
        status=Status.STARTING,
        started_at=None,
        lease_node=None,
        lease_epoch=None,
        instance_id=None,
        journal=False,
        attempts=record.attempts if count else max(0, record.attempts - 1),
    )


def ask_cancel(record: Prediction, at: int) -> Prediction:
    """Somebody wants it to stop; it has not yet."""
    if record.terminal:
        raise IllegalMove(f"prediction {record.id} has ended")
    return msgspec.structs.replace(record, cancel_requested_at=record.cancel_requested_at or at)


def finish(
    record: Prediction,
    status: Status,
    at: int,
    *,
    output: bytes | None = None,
    error: str | None = None,
    logs: str = "",
    metrics: bytes | None = None,
    journal: bool = False,
) -> Prediction:
    """It ended. Raises IllegalMove when it had ended before: the first outcome stands."""
    _check(record, status)
    return msgspec.structs.replace(
        record,
        status=status,
        completed_at=at,
        output=output,
        error=error,
        logs=logs,
        metrics=metrics,
        journal=journal,
        secrets=None,
    )


def record_metric(metrics: dict[str, Any], name: str, value: Any, mode: str) -> None:
    """Apply one metric to the map, dots in its name nesting. Modes: `replace`, `increment`, `append`; None deletes."""
    *parents, leaf = name.split(".")
    for parent in parents:
        inner = metrics.setdefault(parent, {})
        if not isinstance(inner, dict):
            return
        metrics = inner
    if len(metrics) >= MAX_METRICS and leaf not in metrics:
        return
    present = metrics.get(leaf)
    if value is None:
        metrics.pop(leaf, None)
    elif mode in ("increment", "incr"):
        metrics[leaf] = value if present is None else present + value
    elif mode == "append":
        metrics[leaf] = [value] if present is None else [*present, value]
    else:
        metrics[leaf] = value
