"""How times, sizes and foreign texts are written in tables."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from modelyard.amounts import size_text


def now() -> float:
    """Seconds since 1970."""
    return datetime.now(UTC).timestamp()


def moment(text: str) -> float:
    """A time as the API writes it, in seconds since 1970."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def age(text: str, at: float) -> str:
    """How long before `at` the time `text` was."""
    return span(at - moment(text))


def span(seconds: float) -> str:
    """A duration in its largest unit, two below ten of it: `0.2s`, `45s`, `3m 20s`, `5h 10m`, `12d`."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}s" if seconds >= 0.05 else "0s"
    whole = round(seconds)
    for unit, size, below, lower in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            count, rest = divmod(whole, size)
            more = rest // lower
            return f"{count}{unit} {more}{below}" if count < 10 and more else f"{count}{unit}"
    return f"{whole}s"


def size(number: float) -> str:
    """Bytes as the pages write them."""
    return f"{number:.0f} B" if number < 1000 else size_text(number)


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 model`, `2 models`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def tally(counts: Mapping[str, int]) -> str:
    """`2 idle, 1 busy`; `none` where there is nothing."""
    return ", ".join(f"{number:,} {name}" for name, number in counts.items() if number) or "none"


def line(text: object) -> str:
    """A foreign text as one line that moves no cursor: its first line, without control characters."""
    first = str(text).strip().split("\n", 1)[0]
    return plain(first)


def plain(text: str) -> str:
    """A foreign text that moves no cursor and rings no bell; line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def cut(text: str, width: int) -> str:
    """At most `width` characters, the last one `…` where some are left out."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"
