"""Secret values kept out of logs: what a model prints passes through here on its way to whoever keeps it.

Text comes in pieces, and a value may be cut anywhere. So the end of a piece that may be the beginning of a value is
held back until what follows says. A value is found as it is, line by line where it has several, and as JSON writes it;
what was encoded, split with something in between, or is shorter than `SHORTEST` characters is not found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

MASK = "[secret]"
SHORTEST = 5
# Single lines of a longer value: shorter ones, or more, are likely to be words that mean nothing.
_SHORTEST_LINE = 8
_MOST_LINES = 100


class Mask:
    """The mask of one stream of text; `of` gives one, or None when there is nothing to hide."""

    __slots__ = ("_beginnings", "_held", "_longest", "_pattern", "_spellings")

    def __init__(self, values: frozenset[str]) -> None:
        self._spellings = sorted({each for value in values for each in _spellings(value)}, key=len, reverse=True)
        self._longest = len(self._spellings[0]) if self._spellings else 0
        self._beginnings = re.compile("|".join({re.escape(each[0]) for each in self._spellings}))
        self._pattern = re.compile("|".join(map(re.escape, self._spellings)))
        self._held = ""

    def feed(self, text: str) -> str:
        """What of the text so far may be shown."""
        text = self._held + text
        matches = [match.span() for match in self._pattern.finditer(text)]
        cut = self._beginning(text, matches)
        self._held = text[cut:]
        return self._pattern.sub(MASK, text[:cut])

    def rest(self) -> str:
        """What was held back, when nothing follows."""
        text, self._held = self._held, ""
        return self._pattern.sub(MASK, text)

    def whole(self, text: str) -> str:
        """A text of its own, such as an error."""
        return self._pattern.sub(MASK, text)

    def _beginning(self, text: str, matches: list[tuple[int, int]]) -> int:
        """Where the end of the text begins that may be the beginning of a value."""
        start = max(0, len(text) - self._longest + 1)
        for candidate in self._beginnings.finditer(text, start):
            place = candidate.start()
            if any(begin < place < end for begin, end in matches):
                continue
            ending = text[place:]
            if any(len(each) > len(ending) and each.startswith(ending) for each in self._spellings):
                return place
        return len(text)


class Withholding(Mask):
    """Where it is not known what must be hidden: nothing is shown."""

    def __init__(self) -> None:
        super().__init__(frozenset())

    def feed(self, text: str) -> str:
        """Nothing."""
        return ""

    def rest(self) -> str:
        """Nothing."""
        return ""

    def whole(self, text: str) -> str:
        """That there is something."""
        return "It failed; what it said is withheld, because its secrets cannot be opened to keep them out of it."


def mask_of(values: Iterable[str]) -> Mask | None:
    """A mask of these values; None when none of them is long enough to be found."""
    hidden = frozenset(value for value in values if len(value.strip()) >= SHORTEST)
    return Mask(hidden) if hidden else None


def texts(value: object) -> Iterable[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


def _spellings(value: str) -> Iterable[str]:
    plain = value.strip()
    yield plain
    yield json.dumps(plain)[1:-1]
    yield json.dumps(plain, ensure_ascii=False)[1:-1]
    lines = [line.strip() for line in plain.splitlines()]
    if len(lines) > 1:
        yield from [line for line in lines if len(line) >= _SHORTEST_LINE][:_MOST_LINES]
