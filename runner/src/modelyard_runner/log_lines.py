"""The server's own log: lines for people, or with LOG_FORMAT=json objects of the shape that Cog's log has."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_NAMES = {logging.WARNING: "WARN", logging.CRITICAL: "ERROR"}


def level(cog: str | None, rust: str | None, otherwise: int = logging.INFO) -> int:
    """The least important that is logged: of COG_LOG_LEVEL, else the part of RUST_LOG that is about everything."""
    words = [cog or "", *reversed((rust or "").split(","))]
    return next((found for word in words if (found := _LEVELS.get(word.strip().lower()))), otherwise)


def is_json(form: str | None) -> bool:
    """Is each line to be an object?"""
    return (form or "").lower() == "json"


def set_up(form: str | None, least: int) -> Callable[[str], None]:
    """Has what is logged written to stderr; gives what writes text of the model there."""
    if not is_json(form):
        logging.basicConfig(level=least, format="%(levelname)s %(name)s: %(message)s")
        say = _say
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Json())
        logging.basicConfig(level=least, handlers=[handler])
        say = _say_json
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    return say


class Json(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The object; a traceback is a field of its own."""
        fields = {"message": record.getMessage()}
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return _line(record.created, _NAMES.get(record.levelno, record.levelname), fields, record.name)


def _line(at: float, name: str, fields: dict[str, Any], target: str) -> str:
    when = datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return json.dumps({"timestamp": when, "level": name, "fields": fields, "target": target}, separators=(",", ":"))


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _say_json(text: str) -> None:
    at = datetime.now(timezone.utc).timestamp()
    _say("".join(_line(at, "INFO", {"message": line}, "model") + "\n" for line in text.splitlines() if line))
