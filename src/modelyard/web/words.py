"""Times, sizes and states as people say them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from markupsafe import Markup, escape

from modelyard import amounts
from modelyard.predictions.record import Status

_STEPS = ((60, "s"), (60, "min"), (24, "h"), (365, "d"))
_STATES = {
    Status.STARTING: "waiting",
    Status.PROCESSING: "running",
    Status.SUCCEEDED: "done",
    Status.FAILED: "failed",
    Status.CANCELED: "stopped",
    Status.ABORTED: "stopped",
}


def state(status: str) -> str:
    """The state whose colour and shape a status has: waiting, running, done, failed, stopped."""
    return _STATES[Status(status)]


def duration(seconds: float | None) -> str:
    """`4 ms`, `0.24 s`, `3.2 s`, `2 min 5 s`, `1 h 4 min`."""
    if seconds is None:
        return "–"
    if seconds < 0.095:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 10:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def ago(us: int, now_us: int) -> str:
    """`just now`, `12 s ago`, `3 min ago`, `2 d ago`."""
    value = max(0, now_us - us) // 1_000_000
    if value < 5:
        return "just now"
    for limit, unit in _STEPS:
        if value < limit:
            return f"{value} {unit} ago"
        value //= limit
    return f"{value} y ago"


def size(count: int) -> str:
    """Bytes: `512 B`, `3.4 kB`, `12.0 MB`."""
    return f"{count} B" if count < 1000 else amounts.size_text(count)


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 run`, `12,345 runs`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def plain(number: float) -> str:
    """A metric's value: thousands grouped, no more digits than help."""
    if isinstance(number, int) or float(number).is_integer():
        return f"{int(number):,}"
    return f"{number:,.3g}" if abs(number) < 1000 else f"{number:,.0f}"


def blocks(text: str, size: int = 4000) -> Iterator[str]:
    """A text in parts of about so many characters, each ending where a line does; the line's end is left out."""
    start = 0
    while (end := text.find("\n", start + size)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


def said(text: str) -> Markup:
    """A message as markup: what stands between backticks is code, and all of it is text."""
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped just before
