"""What predictions are told and what they ask of others: a checked request, a queue, an outbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from modelyard.db.base import Statement
from modelyard.predictions.live import Live
from modelyard.predictions.record import Prediction


class NewPrediction(msgspec.Struct, kw_only=True):
    """What a door knows when it has checked a request."""

    account_id: str
    model_id: str
    model: str
    version_id: str
    input: bytes
    kind: str = "prediction"
    deployment: str | None = None
    source: str = "api"
    webhook: str | None = None
    webhook_events: tuple[str, ...] | None = None
    context: dict[str, str] | None = None
    cancel_after_seconds: float | None = None
    run_timeout_seconds: float | None = None
    # Said in the prediction's log before anything else, also when it runs again: such as the names of dropped inputs.
    notes: str = ""
    # Strings of `input` that stand for bytes already on this host: string → absolute path.
    input_files: dict[str, str] = msgspec.field(default_factory=dict)
    # Values that `input` does not hold, because nobody but the model may see them: name → value.
    secrets: dict[str, Any] = msgspec.field(default_factory=dict)


class Queue(Protocol):
    """What the scheduler offers to this room: where waiting predictions go, and whom to tell of a cancel."""

    def offer(self, live: Live) -> None:
        """It waits for an instance."""

    def withdraw(self, live: Live) -> bool:
        """Take it out of the queue again; False when an instance has it."""

    def stop(self, live: Live) -> None:
        """Ask the instance that runs it to stop it; after the grace period, end it with its instance."""


class Outbox(Protocol):
    """What the webhook room offers: the rows that tell of a state, to be committed with it."""

    def rows(self, record: Prediction, event: str) -> Sequence[tuple[Statement, Mapping[str, Any]]]:
        """Statements that put the event into the outbox; empty when nobody asked for it."""

    def touched(self, live: Live, event: str) -> None:
        """`start`, `output` or `logs` happened: send it soon, throttled, without a row."""

    def wake(self) -> None:
        """Rows were committed."""
