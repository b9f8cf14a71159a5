"""A prediction as a stream of server-sent events: remembered for those who come later, sent to those who are there.

One string of bytes an event. A reader takes all that waits at once, so that what comes together leaves together.
"""

from __future__ import annotations

import asyncio
from collections import deque

import msgspec

from modelyard_runner import frames

# Bytes that may wait for one reader, and that are remembered for later ones.
MAX_WAITING = 16 * 1024 * 1024
MAX_READERS = 1024
KEEP_ALIVE = b": keep-alive\n\n"

_encode = msgspec.json.Encoder(order="sorted").encode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


class TooManyReaders(Exception):
    """As many read a stream as may."""


class Reader:
    """One who reads a stream: `take` what waits, `wait` for more, until `closed`."""

    def __init__(self, waiting: list[bytes], *, closed: bool) -> None:
        self._waiting = waiting
        self._size = sum(map(len, waiting))
        self._wake: asyncio.Future[None] | None = None
        self.closed = closed

    def take(self) -> bytes:
        """Everything that waits."""
        waiting, self._waiting = self._waiting, []
        self._size = 0
        return b"".join(waiting)

    def put(self, data: bytes) -> None:
        """Adds events; a reader who is too slow for them is told so and sees no more."""
        if self.closed:
            return
        self._waiting.append(data)
        self._size += len(data)
        if self._size > MAX_WAITING:
            lost = data.count(b"\n\n")
            self._waiting = [truncated(lost, "SSE stream lagged; events were dropped")]
            self.close()
        self._notify()

    def close(self) -> None:
        """Nothing more will come."""
        self.closed = True
        self._notify()

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def wait(self, timeout: float) -> bool:
        """Until there is something to take or the end; False after `timeout` seconds without."""
        if self._waiting or self.closed:
            return True
        loop = asyncio.get_running_loop()
        wake = self._wake = loop.create_future()
        timer = loop.call_later(timeout, self._notify)
        await wake
        timer.cancel()
        return bool(self._waiting) or self.closed


class Stream:
    """The events of one prediction; `capacity` of them are remembered."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._history: deque[bytes] = deque(maxlen=capacity)
        self._size = 0
        self._count = 0
        self._readers: list[Reader] = []

    def publish(self, events: list[bytes], *, last: bool = False) -> None:
        """Sends events to everybody and remembers them."""
        if self._capacity:
            self._remember(events)
        if self._readers:
            data = b"".join(events)
            for reader in self._readers:
                reader.put(data)
                if last:
                    reader.close()

    def _remember(self, events: list[bytes]) -> None:
        self._count += len(events)
        history = self._history
        for event in events:
            if len(history) == self._capacity:
                self._size -= len(history[0])
            history.append(event)
            self._size += len(event)
        while self._size > MAX_WAITING and len(history) > 1:
            self._size -= len(history.popleft())

    def attach(self, *, ended: bool = False) -> Reader:
        """A reader from the beginning on, or one that is told that this is forgotten. Raises TooManyReaders."""
        if len(self._readers) >= MAX_READERS:
            raise TooManyReaders
        skipped = self._count - len(self._history)
        if skipped > 0:
            return Reader([truncated(skipped, "SSE stream replay truncated; events were dropped")], closed=True)
        reader = Reader(list(self._history), closed=ended)
        self._readers.append(reader)
        return reader

    def detach(self, reader: Reader) -> None:
        """A reader left."""
        if reader in self._readers:
            self._readers.remove(reader)


def truncated(skipped: int, text: str) -> bytes:
    """The event that says what is missing."""
    return b"event: error\ndata: %b\n\n" % _encode({"error": text, "skipped": skipped})


def started(key: bytes) -> bytes:
    """The model's code begins."""
    return b'event: start\ndata: {"id":%b,"status":"processing"}\n\n' % key


def log(frame: frames.Log) -> bytes:
    """Something was printed."""
    return b'event: log\ndata: {"data":%b,"source":%b}\n\n' % (_encode(frame.text), _encode(frame.stream))


def metric(frame: frames.Metric) -> bytes:
    """Something was measured."""
    mode = "increment" if frame.mode == "incr" else frame.mode
    value = bytes(frame.value)
    return b'event: metric\ndata: {"mode":%b,"name":%b,"value":%b}\n\n' % (_encode(mode), _encode(frame.name), value)


def output(frame: frames.Output) -> list[bytes]:
    """Items came."""
    values = _split(frame.values)
    return [
        b'event: output\ndata: {"chunk":%b,"index":%d}\n\n' % (value, index)
        for index, value in enumerate(values, frame.index)
    ]


def completed(state: bytes) -> bytes:
    """It is over: the whole state."""
    return b"event: completed\ndata: %b\n\n" % state
