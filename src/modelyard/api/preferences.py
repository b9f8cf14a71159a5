"""The headers that say how long a caller waits: `Prefer` and `Cancel-After`."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from modelyard import errors

MAX_WAIT_SECONDS = 60
# Clients give up at the second they asked for, so an answer leaves a second earlier; but some waiting there must be.
_EARLIER_SECONDS = 1.0
_SHORTEST_HOLD_SECONDS = 0.5
MIN_CANCEL_SECONDS, MAX_CANCEL_SECONDS = 5, 24 * 3600

_DURATION = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s?)?", re.IGNORECASE)


class Wait(NamedTuple):
    """A caller waits for the outcome: how long we hold the answer (seconds), and the preference as it was applied."""

    hold: float
    applied: bytes


@lru_cache(maxsize=512)
def parse_prefer(value: bytes) -> Wait | None:
    """The wait in a `Prefer` header; None without one. What is not understood is ignored (RFC 7240)."""
    for preference in value.decode("latin-1").split(","):
        name, _, parameter = preference.partition(";")[0].partition("=")
        if name.strip().lower() != "wait":
            continue
        parameter = parameter.strip().strip('"')
        if not parameter:
            return Wait(MAX_WAIT_SECONDS - _EARLIER_SECONDS, b"wait")
        if parameter.isascii() and parameter.isdigit():
            seconds = min(max(int(parameter[:6]), 1), MAX_WAIT_SECONDS)
            return Wait(max(seconds - _EARLIER_SECONDS, _SHORTEST_HOLD_SECONDS), b"wait=%d" % seconds)
    return None


@lru_cache(maxsize=512)
def parse_cancel_after(value: bytes) -> float:
    """Seconds of a `Cancel-After` header: `30`, `30s`, `5m`, `1h30m45s`. Raises BadRequest."""
    text = value.decode("latin-1").strip()
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise errors.BadRequest(
            f"Header Cancel-After is {text[:100]!r}; a duration such as 30, 30s, 5m or 1h30m45s is wanted."
        )
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = hours * 3600 + minutes * 60 + seconds
    if not MIN_CANCEL_SECONDS <= total <= MAX_CANCEL_SECONDS:
        raise errors.BadRequest(f"Header Cancel-After is {text[:100]!r}; from 5 seconds to 24 hours are possible.")
    return float(total)
