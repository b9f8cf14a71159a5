"""The words and records of Cog's HTTP API, as models of Cog up to 0.16 import them.

There they were pydantic's; here they are plain dataclasses, which check and convert nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Status(str, Enum):
    """What a prediction is doing, as its `status` says."""

    STARTING = "starting"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"
    FAILED = "failed"

    def __str__(self) -> str:
        return self.value

    @staticmethod
    def is_terminal(status: Status | str | None) -> bool:
        """Whether a prediction of this status is over."""
        return status in (Status.SUCCEEDED, Status.CANCELED, Status.FAILED)


class WebhookEvent(str, Enum):
    """What a webhook may be called for."""

    START = "start"
    OUTPUT = "output"
    LOGS = "logs"
    COMPLETED = "completed"

    def __str__(self) -> str:
        return self.value

    @classmethod
    def default_events(cls) -> set[WebhookEvent]:
        """Those that a caller gets who asks for none."""
        return set(cls)


class _Record:
    def dict(self, *, exclude_unset: bool = False) -> Mapping[str, Any]:
        """The fields by name; `exclude_unset`: without those that are None."""
        found = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in found.items() if not (exclude_unset and value is None)}

    @classmethod
    def with_types(cls, **_: Any) -> type[Any]:
        """The class itself: the model's own types are checked against its schema, before a record is made."""
        return cls


@dataclass(kw_only=True)
class PredictionRequest(_Record):
    """The body of a request for a prediction."""

    input: Mapping[str, Any] | None = None
    id: str | None = None
    created_at: Any = None
    context: Mapping[str, str] | None = None
    output_file_prefix: str | None = None
    webhook: str | None = None
    webhook_events_filter: set[WebhookEvent] = field(default_factory=WebhookEvent.default_events)


@dataclass(kw_only=True)
class PredictionResponse(_Record):
    """What the server says of a prediction."""

    input: Mapping[str, Any] | None = None
    output: Any = None
    id: str | None = None
    version: str | None = None
    created_at: Any = None
    started_at: Any = None
    completed_at: Any = None
    logs: str = ""
    error: str | None = None
    status: Status | None = None
    metrics: Mapping[str, Any] | None = None


class TrainingRequest(PredictionRequest):
    """The body of a request for a training."""


class TrainingResponse(PredictionResponse):
    """What the server says of a training."""
