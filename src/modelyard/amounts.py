"""Durations and sizes as people write them: `30d`, `1h30m`, `forever`; `10GB`, `512MiB`, `unlimited`."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

FOREVER = "forever"
UNLIMITED = "unlimited"
DURATION_WANTED = f"a duration such as 90s, 45m, 12h, 30d, 2w or 1d12h; 0; or {FOREVER}"
SIZE_WANTED = f"a size such as 500MB, 10GB, 1.5TB or 8GiB; 0; or {UNLIMITED}"

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(?:\d{1,9}[smhdw])+")
_PART = re.compile(r"(\d+)([smhdw])")
_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([KMGTP]?)(I?)B", re.IGNORECASE)
_POWERS = " KMGTP"
# A hundred years: longer than any yard's, and far from what a time in microseconds can hold.
_MOST_SECONDS = 100 * 366 * 86400


class Duration(NamedTuple):
    """A length of time. `seconds` is infinite for `forever`."""

    text: str
    seconds: float

    def __str__(self) -> str:
        return self.text

    def before(self, now: int) -> int:
        """The moment (microseconds since 1970) that is this long before `now`; 0 for `forever`."""
        return 0 if math.isinf(self.seconds) else max(0, now - int(self.seconds * 1_000_000))


class Size(NamedTuple):
    """An amount of bytes; infinite for `unlimited`."""

    text: str
    bytes: float

    def __str__(self) -> str:
        return self.text


def duration(text: object) -> Duration:
    """Read a duration. Raises ValueError that says what is wanted.

    >>> duration("1d12h").seconds
    129600
    """
    plain = _plain(text).lower().replace(" ", "")
    if plain == FOREVER:
        return Duration(FOREVER, math.inf)
    if plain == "0":
        return Duration("0s", 0)
    if not _DURATION.fullmatch(plain):
        raise ValueError(DURATION_WANTED)
    seconds = sum(int(number) * _SECONDS[unit] for number, unit in _PART.findall(plain))
    if seconds > _MOST_SECONDS:
        raise ValueError(f"at most a hundred years, or {FOREVER}")
    return Duration(plain, seconds)


def _plain(text: object) -> str:
    """What was written; a 0 needs no unit, so that it may be a number."""
    return text.strip() if isinstance(text, str) else "0" if text == 0 and not isinstance(text, bool) else ""


def size(text: object) -> Size:
    """Read a size; `GB` is 10^9 bytes, `GiB` 2^30. Raises ValueError that says what is wanted.

    >>> size("1.5GB").bytes
    1500000000
    """
    plain = _plain(text)
    if plain.lower() == UNLIMITED:
        return Size(UNLIMITED, math.inf)
    if plain == "0":
        return Size("0", 0)
    match = _SIZE.fullmatch(plain)
    if match is None or (match[3] and not match[2]):
        raise ValueError(SIZE_WANTED)
    base = 1024 if match[3] else 1000
    return Size(plain, int(float(match[1]) * base ** _POWERS.index(match[2].upper() or " ")))


def size_text(amount: float) -> str:
    """Bytes for people to read.

    >>> size_text(1_234_567)
    '1.2 MB'
    """
    units = ("bytes", "kB", "MB", "GB", "TB", "PB")
    power = 0
    while amount >= 999.95 and power < len(units) - 1:
        amount /= 1000
        power += 1
    if power:
        return f"{amount:.1f} {units[power]}"
    return "1 byte" if amount == 1 else f"{amount:.0f} bytes"


def age_text(seconds: float) -> str:
    """A length of time in its largest unit, for people to read.

    >>> age_text(200_000)
    '2 days'
    """
    for length, unit in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= length or length == 1:
            count = max(0, int(seconds // length))
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    return ""
