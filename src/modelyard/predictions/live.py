"""A prediction that has not ended, as this process holds it: its record, its journal, and who is watching.

A record is replaced only by one that may be shown: the terminal one after its commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from modelyard.predictions.journal import Journal
    from modelyard.predictions.masking import Mask
    from modelyard.predictions.record import Prediction

Listener = Callable[["Live"], None]


class Live:
    """One prediction in memory. `changed` tells the listeners; they read what they want from record and journal."""

    __slots__ = (
        "_listeners",
        "_waiting",
        "cancel_sent",
        "claim_due",
        "ending",
        "failure",
        "files",
        "handed_at",
        "input_files",
        "inserted",
        "iterates",
        "journal",
        "mask",
        "metrics",
        "noted",
        "record",
        "secrets",
        "stored",
        "timers",
        "waited",
        "watched",
    )

    def __init__(self, record: Prediction, journal: Journal) -> None:
        self.record = record
        self.journal = journal
        self.metrics: dict[str, Any] = {}
        # Strings of the input that stand for bytes which this host already has: string → absolute path.
        self.input_files: dict[str, str] = {}
        # Values of the input that no row shows, while an instance has it; and what hides them in what it says.
        self.secrets: dict[str, Any] = {}
        self.mask: Mask | None = None
        self.iterates = False  # its output grows item by item, and what is there may be shown before its end
        self.files = 0  # output files kept so far, which numbers them
        # When its worker was sent it, in seconds of a monotonic clock; inf: it has a slot there, and is not sent yet.
        self.handed_at = 0.0
        self.inserted = False  # its row exists or is on its way
        self.stored: asyncio.Future[int] | None = None  # done when its row is committed
        self.ending = False  # its outcome is known and being committed: later facts are stale
        self.cancel_sent = False
        self.claim_due = False  # its row does not say yet which instance has it
        self.noted = False  # its row says that it runs and has a journal
        self.waited = False  # a caller waits and was promised nothing yet
        self.watched = 0  # readers who need it to stay in memory
        self.failure: BaseException | None = None  # why its row could not be written
        self.timers: list[asyncio.TimerHandle] = []
        self._listeners: list[Listener] = []
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def id(self) -> str:
        """The prediction's id."""
        return self.record.id

    def present(self) -> Prediction:
        """The record with the output and the logs that there are so far."""
        record, journal = self.record, self.journal
        if record.terminal or not journal.end:
            return record
        # Until its outcome is committed, only the items of an iterator may be shown; anything else is an outcome.
        output = journal.output() if self.iterates else None
        return msgspec.structs.replace(record, output=output, logs=journal.log() if journal.log_bytes else "")

    def follow(self, listener: Listener) -> Callable[[], None]:
        """Call `listener(live)` after every change until the returned function is called."""
        self._listeners.append(listener)

        def unfollow() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unfollow

    def changed(self) -> None:
        """Something may be shown that could not be before."""
        if self.record.terminal or self.failure is not None:
            for timer in self.timers:
                timer.cancel()
            self.timers.clear()
            for waiting in self._waiting:
                _wake(waiting)
            self._waiting.clear()
        if self._listeners:
            for listener in tuple(self._listeners):
                listener(self)

    async def finished(self, timeout: float | None = None) -> bool:
        """Wait until its outcome is committed, at most `timeout` seconds. Did it end?

        Raises what kept its row from being written, if that happened.
        """
        if not self.record.terminal and self.failure is None:
            # A future and a timer of its own: `asyncio.wait_for` costs a task, and everybody who waits comes here.
            loop = asyncio.get_running_loop()
            ended = loop.create_future()
            self._waiting.append(ended)
            timer = None if timeout is None else loop.call_later(timeout, _wake, ended)
            try:
                await ended
            finally:
                if timer is not None:
                    timer.cancel()
                if ended in self._waiting:
                    self._waiting.remove(ended)
        if self.failure is not None:
            raise self.failure
        return self.record.terminal

    async def committed(self) -> None:
        """Wait until its row is on disk. Raises what kept it from being written."""
        stored = self.stored
        if stored is not None and stored.done():
            stored.result()
        elif stored is not None:
            await asyncio.shield(stored)


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
