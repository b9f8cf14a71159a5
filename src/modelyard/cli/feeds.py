"""Follows what predictions and instances say: each in a thread of its own, over server-sent events, also when the yard
is away for a while."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from modelyard.cli import client, sources, wire
from modelyard.cli.client import Login
from modelyard.cli.sources import Source
from modelyard.errors import ModelyardError, NotFound, Unavailable

_AGAIN_SECONDS = 1.0


class Piece(NamedTuple):
    """What came of a source: text; with `warning`, something to be said beside it; an error that ends it all."""

    source: Source
    said: str | Exception
    warning: bool = False


class News:
    """What the feeds have brought and nobody has shown yet."""

    def __init__(self) -> None:
        self._pieces: queue.SimpleQueue[Piece] = queue.SimpleQueue()

    def put(self, piece: Piece) -> None:
        """Called by feeds."""
        self._pieces.put(piece)

    def empty(self) -> bool:
        """Has all been shown?"""
        return self._pieces.empty()

    def next(self, seconds: float) -> Piece | None:
        """The oldest piece; None when none came in so long a time."""
        try:
            return self._pieces.get(timeout=seconds)
        except queue.Empty:
            return None


class Feed(threading.Thread):
    """Puts what its source says into `news`. `after`: the id of the event to begin behind."""

    def __init__(self, login: Login, source: Source, news: News, after: str = "") -> None:
        super().__init__(daemon=True)
        self._login = login
        self._source = source
        self._news = news
        self._after = after
        self.ended = False

    def run(self) -> None:
        """Until its source has ended or is no more."""
        warned = False
        while not self.ended:
            try:
                self.ended = self._listen()
                warned = False
            except NotFound:
                self.ended = True
            except Unavailable as error:
                if not warned:
                    self._news.put(Piece(self._source, f"{error.detail}; trying again", warning=True))
                warned = True
                time.sleep(_AGAIN_SECONDS)
            except ModelyardError as error:
                self._news.put(Piece(self._source, error))
                self.ended = True

    def _listen(self) -> bool:
        """Whether the end was heard. Raises what the client raises."""
        reply = client.open_reply(
            self._login,
            self._source.path,
            accept="text/event-stream",
            after=self._after,
            timeout_seconds=sources.PATIENCE,
        )
        with reply:
            try:
                for name, event_id, data in events(reply.lines()):
                    self._after = event_id or self._after
                    if name == "done":
                        return True
                    if name == "logs":
                        self._news.put(Piece(self._source, data))
            except (OSError, wire.WireError) as error:
                raise client.unreachable(self._login.url, error) from None
        return reply.status == 204


def events(lines: Iterable[bytes]) -> Iterator[tuple[str, str, str]]:
    """Server-sent events as (name, id, data)."""
    name, event_id, data = "message", "", list[str]()
    for line in lines:
        field, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield name, event_id, "\n".join(data)
            name, event_id, data = "message", "", []
        elif field == "event":
            name = value
        elif field == "id":
            event_id = value
        elif field == "data":
            data.append(value)
