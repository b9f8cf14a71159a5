"""What answers at a playground's target: a model that can be run, one that is set up or could not be, or no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from modelyard.models import interface
from modelyard.web import form

# A server that says nothing for so long is away; what a model's run takes is another matter.
_PATIENCE: Final = aiohttp.ClientTimeout(total=10)
_LOGS: Final = 200_000  # characters of its end that a page shows


class State(StrEnum):
    """The first three as in `GET /health-check`."""

    READY = "READY"
    STARTING = "STARTING"
    SETUP_FAILED = "SETUP_FAILED"
    AWAY = "AWAY"
    STRANGER = "STRANGER"


_SETTING_UP: Final = frozenset({"UNKNOWN", "STARTING"})
_STATUS: Final = {State.READY: 200, State.STARTING: 503, State.SETUP_FAILED: 503}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One look. `seconds`: how long the setup has run; `logs`: what it printed, with why it failed.

    `streams`: the model's output and logs may be had while it runs; `one_text`: the pieces of its output are one text.
    """

    state: State
    form: form.Form | None = None
    streams: bool = False
    one_text: bool = False
    seconds: float = 0
    logs: str = ""

    @property
    def http_status(self) -> int:
        """The status of a page that shows this."""
        return _STATUS.get(self.state, 502)

    @property
    def changing(self) -> dict[str, Any]:
        """What a page asks for again and again."""
        return {"state": self.state, "seconds": self.seconds, "logs": self.logs}


async def look(session: aiohttp.ClientSession, target: str) -> Seen:
    """What answers at `target` now."""
    try:
        seen = await _schema(session, target)
        if seen is None:
            # None where setup ended between the two questions: the schema is there now, or never.
            seen = await _setup(session, target) or await _schema(session, target)
    except (aiohttp.ClientError, TimeoutError):
        return Seen(state=State.AWAY)
    return seen or Seen(state=State.STRANGER)


async def _schema(session: aiohttp.ClientSession, target: str) -> Seen | None:
    """None where a server of a model would say that it has no schema yet."""
    async with session.get(f"{target}/openapi.json", timeout=_PATIENCE) as reply:
        if reply.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return None
        document = await _object(reply)
    read = form.read(document, {}) if reply.status == HTTPStatus.OK else None
    if read is None:
        return Seen(state=State.STRANGER)
    one_text = interface.read(document).concatenate
    return Seen(state=State.READY, form=read, streams=_streams(document), one_text=one_text)


async def _setup(session: aiohttp.ClientSession, target: str) -> Seen | None:
    """A setup that runs or failed; None for all else."""
    async with session.get(f"{target}/health-check", timeout=_PATIENCE) as reply:
        said = await _object(reply)
    setup = said.get("setup")
    setup = setup if isinstance(setup, dict) else {}
    logs = setup.get("logs")
    logs = logs[-_LOGS:] if isinstance(logs, str) else ""
    if said.get("status") in _SETTING_UP:
        began, now = setup.get("started_at"), reply.headers.get("Date")
        return Seen(state=State.STARTING, seconds=seconds_between(began, now), logs=logs)
    return Seen(state=State.SETUP_FAILED, logs=logs) if said.get("status") == State.SETUP_FAILED else None


async def _object(reply: aiohttp.ClientResponse) -> Mapping[str, Any]:
    """The JSON object of a reply; empty where it has none."""
    try:
        document = await reply.json(content_type=None)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _streams(document: Mapping[str, Any]) -> bool:
    found: Any = document
    for key in ("paths", "/predictions", "post", "x-cog-streaming"):
        found = found.get(key) if isinstance(found, dict) else None
    return found is True


def seconds_between(began: object, now: str | None) -> float:
    """From the one to the other by the server's own clock, which need not be ours; 0 where it does not say."""
    try:
        first, last = datetime.fromisoformat(str(began)), parsedate_to_datetime(str(now))
    except ValueError:
        return 0
    first, last = (one if one.tzinfo else one.replace(tzinfo=UTC) for one in (first, last))
    return max(0.0, (last - first).total_seconds())
