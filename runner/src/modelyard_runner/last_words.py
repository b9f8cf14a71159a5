"""What native code wrote just before its worker died, read from the pipes that the worker left behind.

The pipes that stand in for a worker's stdout and stderr are read by the worker itself, which knows whose text it is.
A library that complains and aborts leaves nobody to read. Whoever starts that process makes the pipes, so that it holds
their reading ends, too, however soon the worker dies, and finds there what is left.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

# What a pipe can hold at most, unless somebody allowed more.
PIPE_SIZE = 1024 * 1024
STREAMS = ("stdout", "stderr")


class LastWords:
    """The pipes of one worker. It is silent where they cannot be had."""

    def __init__(self) -> None:
        self._ends: list[tuple[str, int]] = []

    @contextlib.contextmanager
    def lend(self) -> Iterator[list[int]]:
        """Makes the pipes of a worker that is started inside of this context, and gives the descriptors that it is to
        inherit: of each pipe the reading end and the writing one. Raises OSError."""
        self.close()
        with contextlib.ExitStack() as failed, contextlib.ExitStack() as lent:
            failed.callback(self.close)
            ends: list[int] = []
            for stream in STREAMS:
                reader, writer = os.pipe()
                self._ends.append((stream, reader))
                lent.callback(os.close, writer)
                os.set_blocking(reader, False)
                ends += (reader, writer)
            yield ends
            failed.pop_all()

    def hold(self, pid: int, pipes: Sequence[int]) -> None:
        """Opens the `pipes` of process `pid`, of which it must be known that it lives, unless it was lent its pipes."""
        if self._ends:
            return
        for stream, number in zip(STREAMS, pipes):  # noqa: B905 - it may say fewer
            with contextlib.suppress(OSError):
                self._ends.append((stream, _open(Path(f"/proc/{pid}/fd/{number}"))))

    def read(self) -> list[tuple[str, str]]:
        """The streams on which something is left, with the text. Takes it from the worker if that lives."""
        found = []
        for stream, end in self._ends:
            with contextlib.suppress(OSError):  # BlockingIOError: nothing, and somebody could still write
                if data := os.read(end, PIPE_SIZE):
                    found.append((stream, data.decode("utf-8", "replace")))
        return found

    def close(self) -> None:
        """Lets go of them."""
        ends, self._ends = self._ends, []
        for _, end in ends:
            os.close(end)


def _open(path: Path) -> int:
    """Raises OSError for what is no pipe: opening something else could wait, or do something."""
    if not stat.S_ISFIFO(path.stat().st_mode):
        raise OSError(f"{path} is no pipe")
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
