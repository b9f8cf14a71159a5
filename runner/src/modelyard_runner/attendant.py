"""Attends to the link on an asyncio loop: what comes in is dispatched, what waits goes out once a turn."""

from __future__ import annotations

import asyncio
import os
import select
import threading
import time
from collections.abc import Callable

from modelyard_runner import capture as capturing
from modelyard_runner import protocol
from modelyard_runner.link import Link, LinkLostError

# Seconds until a socket that was full is tried again.
RETRY = 0.002


class Attendant:
    """The loop's side of a link. `dispatch` gets frames; `lost` is called when the link is gone for good."""

    def __init__(
        self,
        link: Link,
        capture: capturing.Capture,
        loop: asyncio.AbstractEventLoop,
        *,
        dispatch: Callable[[protocol.Frame], None],
        lost: Callable[[], None],
        reconnect_seconds: float,
        last_words: float,
    ) -> None:
        self._link = link
        self._capture = capture
        self._loop = loop
        self._dispatch = dispatch
        self._lost = lost
        self._reconnect_seconds = reconnect_seconds
        self._last_words = last_words
        self._thread = threading.get_ident()
        self._scheduled = False

    def start(self) -> None:
        """Takes the link over; called in the thread of the loop."""
        self._link.on_pending = self._pending
        self._capture.on_partial = self._partial
        self._loop.add_reader(self._link.fileno(), self._readable)
        if not self._link.survives:
            threading.Thread(target=self._end_with_link, args=(self._link.fileno(),), daemon=True).start()
        self._pending()

    def _readable(self) -> None:
        try:
            frames = self._link.receive(wait=False)
        except LinkLostError:
            self._mend()
            return
        for frame in frames:
            self._dispatch(frame)

    def _mend(self) -> None:
        self._loop.remove_reader(self._link.fileno())
        if self._link.survives:
            threading.Thread(target=self._redial, daemon=True).start()
        else:
            self._lost()

    def _redial(self) -> None:
        found = self._link.dial(self._reconnect_seconds, resumes=True)
        self._loop.call_soon_threadsafe(self._redialled, found)

    def _redialled(self, found: bool) -> None:
        if found:
            self._loop.add_reader(self._link.fileno(), self._readable)
        else:
            self._lost()

    def _end_with_link(self, fd: int) -> None:
        """Ends the process when the link does, even if the model's code never gives the loop a turn again."""
        poller = select.poll()
        poller.register(fd, getattr(select, "POLLRDHUP", select.POLLHUP))
        poller.poll()
        time.sleep(self._last_words)
        os._exit(1)

    def _pending(self) -> None:
        if self._scheduled:
            return
        self._scheduled = True
        if threading.get_ident() == self._thread:
            self._loop.call_soon(self._flush)
        else:
            self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        if self._link.pending:
            self._link.flush()
            if self._link.pending:
                self._scheduled = True
                self._loop.call_later(RETRY, self._flush)

    def _partial(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.call_later, capturing.PARTIAL_AGE, self._flush_partial)

    def _flush_partial(self) -> None:
        self._capture.flush_old()
        if self._capture.partial:
            self._loop.call_later(capturing.PARTIAL_AGE, self._flush_partial)
