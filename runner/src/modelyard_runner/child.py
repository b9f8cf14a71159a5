"""One worker process as its supervisor sees it: started, watched, ended with all that it started."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from modelyard_runner import processes
from modelyard_runner.last_words import LastWords

# Bytes of what a worker says outside of the link that are kept, to explain a death.
TAIL = 16 * 1024
# Seconds that frames may still be on their way when a worker is gone, and that a worker may live on without its link.
LAST_FRAMES = 1.0
# Turns of the loop within which a connection that waits is taken, and what came over it read.
TURNS = 10


class Child(asyncio.SubprocessProtocol):
    """A worker. `on_end(child, how)` is called once, when it is gone and its last frames have been taken."""

    def __init__(self, *, talk: Callable[[str], None], on_end: Callable[[Child, str], None]) -> None:
        self._mark = os.urandom(12).hex()
        self._talk = talk
        self._on_end = on_end
        self._transport: asyncio.SubprocessTransport | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._tail = b""
        # Why it was ended, where that was our doing.
        self._reason: str | None = None
        self._exit_code: int | None = None
        self._linked = False
        # What it wrote to its descriptors and did not live to read itself.
        self.unread = LastWords()
        # Whether its output pipe is at its end: nobody holds it any more.
        self._silent = False
        self._gone = self._loop.create_future()

    async def start(
        self, command: Sequence[str], options: Mapping[str, Any], environment: Mapping[str, str], folder: str
    ) -> None:
        """Starts the process; `options` are its own, to which its pipes are added. Raises OSError."""
        with self.unread.lend() as pipes:
            told = msgspec.json.encode({**options, "pipes": pipes}).decode()
            await self._loop.subprocess_exec(
                lambda: self,
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={**environment, processes.MARK: self._mark, "MODELYARD_WORKER": told},
                cwd=folder,
                pass_fds=pipes,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        """Whether it was started and `on_end` was not called yet."""
        return self._transport is not None and not self._gone.done()

    @property
    def pid(self) -> int:
        """The process id; 0 when it was never started."""
        return 0 if self._transport is None else self._transport.get_pid() or 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's word for: the process was started."""
        self._transport = transport  # type: ignore[assignment]
        if self._reason is not None:
            self._sweep()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """asyncio's word for: the process wrote outside of the link."""
        self._tail = (self._tail + data)[-TAIL:]
        self._talk(data.decode("utf-8", "replace"))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """asyncio's word for: what it wrote outside of the link has been read to its end."""
        self._silent = True
        if self._exit_code is not None:
            self._end_after(TURNS)

    def process_exited(self) -> None:
        """asyncio's word for: the process is gone."""
        code = self._transport.get_returncode() if self._transport is not None else None
        self._exit_code = -1 if code is None else code
        self._sweep()
        self._end_after(TURNS)

    def _end_after(self, turns: int) -> None:
        """The end, once what it said is read: over a connection that is yet to be taken, or outside of the link.

        Turns are counted, and no time: on a busy machine much of that may pass within one.
        """
        if self._linked:
            self._again_in(LAST_FRAMES)
        elif turns:
            self._loop.call_soon(self._end_after, turns - 1)
        elif self._silent:
            self._end()
        else:
            self._again_in(0.05)

    def _again_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._end)

    def linked(self) -> None:
        """Its link is there."""
        self._linked = True

    def unlinked(self) -> None:
        """Its link closed: its last words are said."""
        self._linked = False
        if self._exit_code is not None:
            self._end()
        elif self.alive:
            self._timer = self._loop.call_later(LAST_FRAMES, self.kill, "its link broke")

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._gone.done():
            self._gone.set_result(None)
            self._on_end(self, self._reason or processes.describe_exit(self._exit_code or 0))
            self.unread.close()

    def kill(self, reason: str) -> None:
        """Ends the process and everything that it started."""
        if not self._gone.done():
            self._reason = self._reason or reason
            if self._exit_code is None:  # else its number is free, and may soon be somebody else's
                self._sweep()

    def _sweep(self) -> None:
        if self.pid:
            processes.end_tree(self.pid, self._mark)

    async def gone(self, timeout: float) -> bool:
        """Waits for its end; False when `timeout` seconds were not enough."""
        if self.alive:
            await asyncio.wait([self._gone], timeout=timeout)
        return not self.alive

    def forget(self) -> None:
        """Lets go of its output pipe; until now it was drained, for children that outlived it."""
        if self._transport is not None:
            self._transport.close()

    def last_words(self) -> str:
        """The end of what it said outside of the link."""
        return self._tail.decode("utf-8", "replace").strip()
