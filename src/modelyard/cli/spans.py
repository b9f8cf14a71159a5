"""Times as people say them on a command line: how long ago, or when."""

from __future__ import annotations

from datetime import UTC, datetime

from modelyard.errors import UsageError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def moment(flag: str, text: str | None, now: float) -> str | None:
    """The time that `30m`, `12h`, `7d` or an ISO 8601 time mean, as the API wants it. Raises UsageError.

    A time without a zone is this machine's own.

    >>> moment("--since", "1d", 86400.0 * 2)
    '1970-01-02T00:00:00+00:00'
    """
    if text is None:
        return None
    number, unit = text[:-1], text[-1:]
    try:
        if unit in _UNITS and number.isascii() and number.isdigit():
            return datetime.fromtimestamp(now - int(number) * _UNITS[unit], UTC).isoformat()
        return datetime.fromisoformat(text).astimezone(UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"{flag} is {text!r}; wanted: 30m, 12h, 7d, or a time such as 2026-01-31T12:00:00Z") from None
