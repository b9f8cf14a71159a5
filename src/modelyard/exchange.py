"""Around every request and its answer: an id that both and the log have, and a count of what was answered.

The whole of it is a few steps on the way of every prediction, so nothing here is computed that could be later.
"""

from __future__ import annotations

import itertools
import logging
import re
import time
from collections import Counter

from modelyard import ids, logs, measures, rest

log = logging.getLogger(__name__)

NAME = b"x-request-id"
# What a caller (or the proxy before us) may call its request: nothing that breaks a line or fills a log.
_SANE = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:+/=@-]{0,127}")
_API = frozenset(
    ("account", "files", "hardware", "instances", "login-links", "models", "predictions", "streams", "webhooks", "yard")
)
_FIRST = {"v2": "registry", "static": "static", "outputs": "outputs", "healthz": "health", "metrics": "metrics"}


# What stands behind these opens something for whoever has it, and is nobody's who reads the log.
_SEALED = ("/login/", "/outputs/", "/v1/streams/", "/v1/v1/streams/")


def shown(path: str) -> str:
    """A path as it may be logged."""
    return next((f"{start}..." for start in _SEALED if path.startswith(start)), path[:300])


def route_of(path: str) -> str:
    """The class of routes that a path belongs to: one of a few words, whatever is asked for."""
    if path.startswith("/v1/predictions"):
        return "predictions"
    parts = path.split("/", 4)
    first = parts[1] if len(parts) > 1 else ""
    if first != "v1":
        return _FIRST.get(first, "pages")
    second = parts[2] if len(parts) > 2 else ""
    if second == "v1":
        second = parts[3] if len(parts) > 3 else ""
    # A model's are predictions, too.
    if path.endswith("/predictions"):
        return "predictions"
    return second if second in _API else "other"


class Exchanges:
    """What was answered since the start: how many by (route, status), and how long until each began, by route."""

    def __init__(self) -> None:
        self.answered: Counter[tuple[str, int]] = Counter()
        self.seconds: dict[str, measures.Histogram] = {}
        self.open = 0
        # Unlike any other yard's and any other start's; the rest of an id is a number.
        self._prefix = ids.new_id()[-10:]
        self._numbers = itertools.count(1)

    def around(self, app: rest.Asgi) -> rest.Asgi:
        """`app`, with all of this around it."""

        async def served(scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            exchange = _Exchange(self, scope, send)
            self.open += 1
            try:
                await app(scope, receive, exchange.send)
            finally:
                self.open -= 1
                exchange.ended()

        return served

    def name(self, given: bytes) -> bytes:
        """The id of a request: the caller's, where it is sane, else one of ours."""
        if given and _SANE.fullmatch(given):
            return given
        return b"%b-%d" % (self._prefix.encode(), next(self._numbers))

    def count(self, path: str, status: int, seconds: float) -> None:
        """An answer begins."""
        route = route_of(path)
        self.answered[route, status] += 1
        histogram = self.seconds.get(route)
        if histogram is None:
            histogram = self.seconds[route] = measures.Histogram(measures.LATENCIES)
        histogram.observe(seconds)


class _Exchange:
    """One request and its answer."""

    __slots__ = ("_all", "_at_once", "_began", "_id", "_scope", "_send", "_status")

    def __init__(self, everything: Exchanges, scope: rest.Scope, send: rest.Send) -> None:
        self._all = everything
        self._scope = scope
        self._send = send
        self._began = time.perf_counter()
        self._status = 0
        self._id = everything.name(rest.header(scope, NAME))
        logs.serve(self._id.decode("ascii"))
        self._at_once = scope.get(rest.AT_ONCE)
        if self._at_once is not None:
            scope[rest.AT_ONCE] = self.at_once

    def at_once(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> bool:
        """Answer the short way; False, and nothing done, where that cannot be."""
        assert self._at_once is not None  # noqa: S101 - only then is this in the scope
        done: bool = self._at_once(status, [*headers, (NAME, self._id)], body)
        if done:
            self._begins(status)
        return done

    async def send(self, message: rest.Message) -> None:
        """Pass a message on; the answer's first with the id in it."""
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (NAME, self._id)]
            self._begins(message["status"])
        await self._send(message)

    def ended(self) -> None:
        """Nothing more will be answered."""
        if log.isEnabledFor(logging.DEBUG) or self._status >= 500:
            facts = {"method": self._scope["method"], "path": shown(self._scope["path"]), "status": self._status}
            facts["seconds"] = round(time.perf_counter() - self._began, 6)
            level = logging.WARNING if self._status >= 500 else logging.DEBUG
            log.log(level, "answered", extra=facts)

    def _begins(self, status: int) -> None:
        self._status = status
        self._all.count(self._scope["path"], status, time.perf_counter() - self._began)
