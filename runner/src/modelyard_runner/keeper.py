"""Frames that nobody has acknowledged yet: in memory up to a limit, the older ones in a file.

Whoever supervises acknowledges a frame when what it says is safe. Until then a worker that may have to dial
again keeps it here. Not safe for threads by itself: the link calls it with its own lock held.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import BinaryIO

MEMORY_LIMIT = 4 * 1024 * 1024
# What a link that is down may fill on disk before those who produce have to wait.
SPOOL_LIMIT = 1024 * 1024 * 1024
READ_PIECE = 1024 * 1024
# How many times its limit memory may hold while the disk takes nothing.
WITHOUT_DISK = 16


class Keeper:
    """Keeps encoded frames, in the order of their numbers, until they are acknowledged."""

    def __init__(self, path: Path, *, memory_limit: int = MEMORY_LIMIT) -> None:
        self._path = path
        self._memory_limit = self._spill_at = memory_limit
        self._memory: deque[tuple[int, bytes]] = deque()
        self._memory_bytes = 0
        self._file: BinaryIO | None = None
        self._start = 0
        self._end = 0
        self._spills: deque[tuple[int, int]] = deque()  # (last frame number, offset behind it) of every spill
        self._ended: deque[tuple[int, str]] = deque()
        self._running: dict[str, bool] = {}

    @property
    def full(self) -> bool:
        """Whether the file is as large as it may become."""
        return self._end - self._start > SPOOL_LIMIT

    @property
    def empty(self) -> bool:
        """Whether everything is acknowledged."""
        return not self._memory and not self._spills

    def add(self, seq: int, data: bytes) -> None:
        """Keeps one encoded frame. Raises OSError when the disk is full, and memory as well."""
        self._memory.append((seq, data))
        self._memory_bytes += len(data)
        if self._memory_bytes > self._spill_at:
            try:
                self._spill()
            except OSError:
                if self._memory_bytes > self._memory_limit * WITHOUT_DISK:
                    raise
                # The disk may have room again in a while; it is not asked at every frame.
                self._spill_at = self._memory_bytes + self._memory_limit

    def _spill(self) -> None:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb+", buffering=0)
        self._file.seek(self._end)
        end = self._end + _write_all(self._file, b"".join([data for _, data in self._memory]))
        self._end = end
        self._spills.append((self._memory[-1][0], end))
        self._memory.clear()
        self._memory_bytes = 0
        self._spill_at = self._memory_limit

    def ack(self, seq: int) -> None:
        """Forgets every frame up to `seq`."""
        memory = self._memory
        while memory and memory[0][0] <= seq:
            self._memory_bytes -= len(memory.popleft()[1])
        while self._spills and self._spills[0][0] <= seq:
            self._start = self._spills.popleft()[1]
        if not self._spills and self._file is not None and self._end:
            self._file.truncate(0)
            self._start = self._end = 0
        while self._ended and self._ended[0][0] <= seq:
            self._running.pop(self._ended.popleft()[1], None)

    @property
    def spooled(self) -> tuple[int, int]:
        """Offsets of the first and behind the last byte in the file that still count."""
        return self._start, self._end

    def read(self, start: int, end: int) -> bytes:
        """Bytes of the file from `start`, at most a piece of them."""
        assert self._file is not None  # noqa: S101 - offsets come from `spooled`
        self._file.seek(start)
        return self._file.read(min(READ_PIECE, end - start))

    def remembered(self) -> list[bytes]:
        """The frames that are in memory: newer than all in the file."""
        return [data for _, data in self._memory]

    def hold(self, prediction: str) -> None:
        """Counts a prediction among those that this worker holds."""
        self._running[prediction] = True

    def holds(self, prediction: str) -> bool:
        """Whether a prediction runs here, or ended with frames that nobody acknowledged."""
        return prediction in self._running

    def end(self, seq: int, prediction: str) -> None:
        """Lets go of a prediction as soon as `seq`, its last frame, is acknowledged."""
        self._ended.append((seq, prediction))

    def held(self) -> list[str]:
        """The predictions to name in `hello`."""
        return list(self._running)


def _write_all(file: BinaryIO, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
    return len(data)
