"""The thread that attends to the link while the main thread runs somebody's code.

While nothing runs the main thread receives for itself, so that a quick prediction wakes nobody. The watcher looks
every two milliseconds whether one has become slow; then it takes the receiving over, until that one is over. After
a tenth of a second without work it sleeps until it is woken.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from typing import Protocol

from modelyard_runner import protocol
from modelyard_runner.capture import Capture
from modelyard_runner.link import Link, LinkLostError

TICK = 0.002
QUIET_TICKS = 50


class Handler(Protocol):
    """Whoever knows what frames mean."""

    def dispatch(self, frame: protocol.Frame) -> None:
        """Acts on one frame, in the watcher's thread."""

    def lost(self) -> None:
        """The link broke: mend it, or end the process."""

    def urge(self) -> float | None:
        """Called now and then while work is on; gives the seconds until it wants to be called again, None for never."""


class Watcher:
    """Receives for a main thread that is busy, and flushes what it left behind.

    `work` says what the main thread runs (any object; another one each time), None when it receives for itself.
    """

    def __init__(self, link: Link, capture: Capture, handler: Handler) -> None:
        self._link = link
        self._capture = capture
        self.handler = handler
        self.receiving = threading.Lock()
        self.work: object | None = None
        self._deep = False
        self._attending = False
        self._stopping = False
        self._reader, self._writer = _wake_pair()
        self._thread = threading.Thread(target=self._run, name="modelyard-watcher", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._link.on_pending = self._capture.on_partial = self.nudge
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread: somebody else attends to the link from now on."""
        self._stopping = True
        self.wake()
        self._thread.join()

    def begin(self, work: object) -> None:
        """The main thread starts `work`."""
        self.work = work
        if self._deep:
            self.wake()

    def finish(self) -> None:
        """The main thread is done and receives for itself again (it takes `receiving`)."""
        self.work = None
        if self._attending:
            self.wake()

    def nudge(self) -> None:
        """Something waits to be flushed."""
        if self._deep:
            self.wake()

    def wake(self) -> None:
        """Ends a long sleep; costs a system call."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"\0\0\0\0\0\0\0\1")

    def _run(self) -> None:
        poller = select.poll()
        poller.register(self._reader, select.POLLIN)
        seen: object | None = None
        quiet = 0
        while not self._stopping:
            self._sleep(poller, TICK if quiet < QUIET_TICKS else None, seen)
            work = self.work
            if self._flush() or work is not None:
                quiet = 0
            else:
                quiet += 1
            if work is not None and work is seen and self.receiving.acquire(blocking=False):
                self._attend(work)
            seen = work

    def _sleep(self, poller: select.poll, timeout: float | None, seen: object | None) -> None:
        if timeout is None:
            self._deep = True  # first said, then checked: whoever begins now wakes us
            if self.work is not None or self._waiting() or self._stopping:
                timeout = 0
        if poller.poll(None if timeout is None else timeout * 1000):
            os.read(self._reader, 4096)
        self._deep = False

    def _waiting(self) -> bool:
        return self._link.pending or self._capture.partial

    def _flush(self) -> bool:
        if self._capture.partial:
            self._capture.flush_old()
        if self._link.pending:
            self._link.flush()
        return self._waiting()

    def _attend(self, work: object) -> None:
        self._attending = True
        try:
            while self.work is work and not self._stopping:
                self._receive(work)
        finally:
            self._attending = False
            self.receiving.release()

    def _receive(self, work: object) -> None:
        timeout = TICK if self._flush() else None
        urge = self.handler.urge()
        if urge is not None and (timeout is None or urge < timeout):
            timeout = urge
        poller = select.poll()
        poller.register(self._reader, select.POLLIN)
        poller.register(self._link.fileno(), select.POLLIN)
        self._deep = True
        if self.work is not work or self._waiting() or self._stopping:
            timeout = TICK
        ready = dict(poller.poll(None if timeout is None else timeout * 1000))
        self._deep = False
        if ready.pop(self._reader, None):
            os.read(self._reader, 4096)
        if not ready:
            return
        try:
            for frame in self._link.receive(wait=False):
                self.handler.dispatch(frame)
        except LinkLostError:
            self.handler.lost()


def _wake_pair() -> tuple[int, int]:
    """Descriptors to wait on and to write eight bytes to."""
    if hasattr(os, "eventfd"):
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        return fd, fd
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    return reader, writer
