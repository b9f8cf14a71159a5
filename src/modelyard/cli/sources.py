"""Who prints something: a prediction or an instance."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

# The yard sends something at least every ten seconds.
PATIENCE = 30.0


class Source(NamedTuple):
    """Who speaks. `kind`: prediction or instance; `path`: of its events; `document`: what the API said of it."""

    kind: str
    id: str
    model: str
    path: str
    document: dict[str, Any]


def texts(pieces: Iterable[bytes]) -> Iterator[str]:
    """UTF-8 as it comes, in texts that break no character."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece in pieces:
        yield decoder.decode(piece)
    yield decoder.decode(b"", True)
