"""What the variables of a model's process say to the server before it, by Cog's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CONCURRENCY = "COG_MAX_CONCURRENCY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """`concurrency`: None where nothing is said; `throttle`: seconds between two webhooks about logs."""

    concurrency: int | None
    throttle: float
    stream_history: int
    weights: str | None
    webhook_token: str | None


def read(variables: Mapping[str, str]) -> Told:
    """What is said; a value that is no number says nothing."""
    return Told(
        concurrency=positive(variables.get(CONCURRENCY)),
        throttle=number(variables.get("COG_THROTTLE_RESPONSE_INTERVAL"), 0.5),
        stream_history=int(number(variables.get("COG_STREAM_HISTORY_CAPACITY"), 1024)),
        weights=variables.get("COG_WEIGHTS") or None,
        webhook_token=variables.get("WEBHOOK_AUTH_TOKEN") or None,
    )


def number(text: str | None, default: float) -> float:
    """A number from 0 up."""
    try:
        found = float(text or "")
    except ValueError:
        return default
    return found if 0 <= found < float("inf") else default


def positive(text: str | None) -> int | None:
    """A whole number from 1 up."""
    return int(number(text, 0)) or None
