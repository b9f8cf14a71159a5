"""The yard's log: lines for people or JSON objects for programs, each with the ids that are known where it is written.

A line that is about something says so in `extra`, by the names in `IDS`. The id of a request is added to what is
logged by the task that serves it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import IO, Any

# What a line may say it is about, in the order in which it is shown.
IDS = ("request_id", "prediction_id", "instance_id", "version_id", "model")
# Beside what it is about, a line of an answered request says these.
_FACTS = ("method", "path", "status", "seconds")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_OURS = ("modelyard", "modelyard_runner")

# The id of the request that is served, and the task that serves it. What that task leaves behind (timers, callbacks of
# commits that many share) runs in a copy of its context and is not to be taken for it.
_serving: ContextVar[tuple[str, object]] = ContextVar("modelyard_request")


def serve(request_id: str) -> None:
    """From here on this task serves that request."""
    _serving.set((request_id, asyncio.current_task()))


def request_id() -> str:
    """The id of the request that this task, or this thread for it, serves; empty where it serves none."""
    found = _serving.get(None)
    if found is None:
        return ""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        # A thread that was given work has the context of whoever gave it.
        return found[0]
    return found[0] if asyncio.current_task() is found[1] else ""


def set_up(form: str, level: str, stream: IO[str] | None = None) -> None:
    """Have everything that is logged written to `stream` (stderr). `form`: text, json; `level`: the least important."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Json() if form == "json" else Text())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    # What libraries say of their inside is nobody's business but their authors'.
    root.setLevel(max(_LEVELS[level], logging.INFO))
    for name in _OURS:
        logging.getLogger(name).setLevel(_LEVELS[level])
    logging.getLogger("uvicorn").setLevel(max(_LEVELS[level], logging.WARNING))
    logging.captureWarnings(capture=True)


def _ids(record: logging.LogRecord) -> dict[str, Any]:
    found = {name: getattr(record, name) for name in (*IDS, *_FACTS) if hasattr(record, name)}
    if "request_id" not in found and (current := request_id()):
        found = {"request_id": current, **found}
    return found


class Text(logging.Formatter):
    """One line for people; the ids at its end."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and below it the traceback if there is one."""
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        ids = "".join(f" {name}={_plain(str(value))}" for name, value in _ids(record).items())
        line = f"{at},{int(record.msecs):03d} {record.levelname} {record.name}: {record.getMessage()}{ids}"
        below = _traceback(self, record)
        return _beneath(f"{line}\n{below}" if below else line)


class Json(logging.Formatter):
    """One JSON object a line: `ts` (UTC), `level`, `logger`, `message`, the ids, `error` with its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        line: dict[str, Any] = {
            "ts": at,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_ids(record),
        }
        below = _traceback(self, record)
        if below:
            line["error"] = below
        # Not every terminal and shipper reads UTF-8; JSON can do without.
        return json.dumps(line, default=str)


def _beneath(text: str) -> str:
    """All lines but the first are moved in, so that none of them is taken for another event; nothing moves a cursor."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text.replace("\n", "\n    "))


def _plain(text: str) -> str:
    """The same on one line: an address can hold whatever its caller likes."""
    return text if text.isprintable() else ascii(text)


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)
