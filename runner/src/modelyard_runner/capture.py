"""Whose print is it: everything written to stdout and stderr finds its prediction.

Python code writes through `sys.stdout` and `sys.stderr`, which ask a context variable whose turn it is, so that
predictions at the same time keep their logs apart. Native code and subprocesses write to the file descriptors 1
and 2, which are pipes that a thread reads for ever; what comes there belongs to the one prediction that runs, and
to the instance when none or several do.
"""

from __future__ import annotations

import codecs
import fcntl
import io
import os
import select
import sys
import termios
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextvars import ContextVar
from typing import Any

from modelyard_runner import protocol
from modelyard_runner.link import INSTANCE, SETUP

STREAMS = ("stdout", "stderr")
# Seconds after which the beginning of a line is sent without its end.
PARTIAL_AGE = 0.02
READ_SIZE = 64 * 1024
# Seconds that text stays in a pipe before it is read. What native code writes just before it ends the process is then
# still there for who supervises (`last_words`); what was read and is not sent yet would be lost.
REST = 0.001
CUT = f" [line cut: longer than {protocol.MAX_LOG_LINE // (1024 * 1024)} MiB]"

Emit = Callable[[str, str, str, bool], None]

current: ContextVar[str | None] = ContextVar("modelyard_prediction", default=None)


class Line:
    """The line that an owner is writing on one stream."""

    __slots__ = ("cutting", "length", "parts", "returned", "since")

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.length = 0  # characters of the unfinished line, those that were sent counted too
        self.since = 0.0
        self.returned = False  # a carriage return came last: what comes next says what it means
        self.cutting = False  # the line was too long: its rest is dropped

    def take(self) -> str:
        """What was held back, once."""
        text = "".join(self.parts)
        self.parts.clear()
        return text

    def resolve_returns(self, text: str) -> str:
        """Text in which a carriage return ends a line, unless nothing stands on that line yet."""
        if self.returned:
            text = "\r" + text
        self.returned = text.endswith("\r")
        text = (text[:-1] if self.returned else text).replace("\r\n", "\n")
        if "\r" not in text:
            return text
        pieces: list[str] = []
        empty = not self.length
        for piece in text.split("\r"):
            if pieces and not empty:
                pieces.append("\n")
            pieces.append(piece)
            if piece:
                empty = piece.endswith("\n")
            elif len(pieces) > 1:
                empty = True
        return "".join(pieces)

    def cut(self, piece: str) -> str:
        """At most what is left of the longest length; a note once; nothing until the line ends."""
        ending = "\n" if piece.endswith("\n") else ""
        if self.cutting:
            self.cutting = not ending
            return ending
        room = protocol.MAX_LOG_LINE - self.length
        if len(piece) <= room:
            return piece
        self.cutting = not ending
        return piece[:room] + CUT + ending


class Capture:
    """The two streams of one worker. `emit(owner, stream, text, copy)` takes what is ready to be sent.

    `copy`: another owner has the same text, as each prediction of a batch has what the batch prints.

    `emitting`: whether this thread is at work inside of what `emit` leads to. The collector may run a destructor there
    that prints: its text waits, or two threads could wait for each other, each with the lock that the other wants.
    """

    def __init__(self, emit: Emit, clock: Callable[[], float], emitting: Callable[[], bool] = bool) -> None:
        self._emit = emit
        self._emitting = emitting
        self._clock = clock
        self._lock = threading.RLock()
        self._lines: dict[tuple[str, str], Line] = {}
        self._late: list[tuple[str, str, str]] = []
        # Who runs, and those whose log is meant where a batch runs.
        self._running: dict[str, Collection[str] | None] = {}
        self._rest_owner = SETUP
        self._pipes: list[Pipe] = []
        self._drain_lock = threading.Lock()
        self._filled = select.poll()
        self._forked = False
        self.partial = False  # whether some line waits for its end
        self.on_partial: Callable[[], None] | None = None
        # Called when Python code's write is over: where an interrupt that came during it is made good.
        self.after_write: Callable[[], None] | None = None

    def install(self, lent: Sequence[int] = ()) -> int:
        """Puts pipes in place of the descriptors 1 and 2; gives back a copy of the old stderr.

        `lent`: the ends of pipes that whoever started this process reads, too (`last_words`).
        """
        kept = os.dup(2)
        for target, stream in enumerate(STREAMS, start=1):
            reader, writer = lent[2 * target - 2 : 2 * target] or os.pipe()
            os.dup2(writer, target)
            os.close(writer)
            os.set_blocking(reader, False)
            os.set_inheritable(reader, False)
            self._pipes.append(Pipe(reader, stream))
            self._filled.register(reader, select.POLLIN)
        sys.stdout, sys.stderr = Writer(self, "stdout", 1), Writer(self, "stderr", 2)
        threading.Thread(target=self._drain_forever, name="modelyard-drain", daemon=True).start()
        return kept

    @property
    def pipes(self) -> list[int]:
        """The reading ends of the pipes, stdout's first."""
        return [pipe.fd for pipe in self._pipes]

    def set_up(self) -> None:
        """Setup is over: what no prediction wrote is the instance's from now on."""
        self.settle(SETUP)
        self._rest_owner = INSTANCE

    def begin(self, prediction: str, members: Collection[str] | None = None) -> None:
        """A prediction runs from here on. `members`: it is a batch, and what it prints is in the log of each of these.

        They may become fewer.
        """
        self._running[prediction] = members

    def end(self, prediction: str) -> None:
        """A prediction is over: all it wrote is in its log when this returns."""
        self.settle(prediction)
        self._running.pop(prediction, None)

    def settle(self, owner: str) -> None:
        """Emits what `owner` has written so far, the descriptors' pipes included when it has them to itself."""
        if len(self._running) < 2:
            _flush_native()
            # In this order: what the other thread took out of a pipe before we looked is emitted before it unlocks.
            if self._filled.poll(0) or self._drain_lock.locked():
                with self._drain_lock:
                    self._drain()
        if self._lines or self._late:
            for stream in STREAMS:
                if self._late or (owner, stream) in self._lines:
                    self.flush(owner, stream)
                    self._lines.pop((owner, stream), None)

    def owner(self) -> str:
        """To whom something belongs that does not say so itself."""
        running = self._running
        if len(running) == 1:
            for prediction in tuple(running):
                return prediction
        return self._rest_owner

    # Lines ---------------------------------------------------------------------------------------------------

    def append(self, owner: str | None, stream: str, text: str) -> None:
        """Adds text to the line of its owner; whole lines go out, the beginning of the next one waits a little."""
        owner = owner or INSTANCE
        if self._inside():
            self._late.append((owner, stream, text))
            self._wait_partially()
            return
        with self._lock:
            self._append(owner, stream, text)
            self._append_late()

    def _inside(self) -> bool:
        """Whether a destructor or a signal handler prints while this thread prints or sends."""
        return self._lock._is_owned() or self._emitting()  # type: ignore[attr-defined]

    def _append_late(self) -> None:
        while self._late:
            owner, stream, text = self._late.pop(0)
            known = owner in self._running or owner in (SETUP, INSTANCE)
            self._append(owner if known else INSTANCE, stream, text)

    def _wait_partially(self) -> None:
        if not self.partial:
            self.partial = True
            if self.on_partial is not None:
                self.on_partial()

    def _append(self, owner: str, stream: str, text: str) -> None:
        line = self._lines.get((owner, stream))
        if line is None:
            line = self._lines[(owner, stream)] = Line()
        if line.returned or "\r" in text:
            text = line.resolve_returns(text)
        if line.length + len(text) > protocol.MAX_LOG_LINE:
            for piece in text.splitlines(keepends=True) if "\n" in text else [text]:
                self._add(owner, stream, line, line.cut(piece))
        else:
            self._add(owner, stream, line, line.cut(text) if line.cutting else text)

    def _add(self, owner: str, stream: str, line: Line, text: str) -> None:
        ends = text.rfind("\n") + 1
        if ends:
            line.parts.append(text[:ends])
            self._send(owner, stream, line.take())
            text = text[ends:]
            line.length = 0
        if text:
            if not line.parts:
                line.since = self._clock()
            line.parts.append(text)
            line.length += len(text)
            self._wait_partially()
            if line.length > protocol.LOG_PIECE:
                self._send(owner, stream, line.take())

    def _send(self, owner: str, stream: str, text: str) -> None:
        members = self._running.get(owner)
        copy = False
        for one in (owner,) if members is None else tuple(members):
            if len(text) <= protocol.LOG_PIECE:
                self._emit(one, stream, text, copy)
            else:
                for start in range(0, len(text), protocol.LOG_PIECE):
                    self._emit(one, stream, text[start : start + protocol.LOG_PIECE], copy)
            copy = True

    def flush(self, owner: str | None, stream: str) -> None:
        """Emits the beginning of a line without waiting for its end."""
        with self._lock:
            self._append_late()
            line = self._lines.get((owner or INSTANCE, stream))
            if line is not None and line.parts:
                self._send(owner or INSTANCE, stream, line.take())

    def flush_writer(self, stream: str) -> None:
        """What `sys.stdout.flush()` asks for."""
        if self.partial and not self._inside():
            prediction = current.get()
            self.flush(prediction if prediction in self._running else self.owner(), stream)

    def flush_old(self) -> None:
        """Emits beginnings of lines that have waited long enough; called again and again while `partial`."""
        if not self._lock.acquire(blocking=False):  # somebody prints, and may be waiting for room: not our time
            return
        try:
            self._append_late()
            before = self._clock() - PARTIAL_AGE
            waiting = [(key, line) for key, line in self._lines.items() if line.parts]
            for (owner, stream), line in waiting:
                if line.since <= before:
                    self._send(owner, stream, line.take())
            self.partial = bool(self._late) or any(line.parts for _, line in waiting)
        finally:
            self._lock.release()

    # Descriptors ---------------------------------------------------------------------------------------------

    def _drain_forever(self) -> None:
        poller = select.poll()
        for pipe in self._pipes:
            poller.register(pipe.fd, select.POLLIN)
        while self._pipes and not self._forked:
            poller.poll()
            if all(pipe.filled() < READ_SIZE // 2 for pipe in self._pipes):  # else who writes may wait for room
                time.sleep(REST)
            with self._drain_lock:
                for pipe in self._drain():
                    poller.unregister(pipe.fd)
                    self._filled.unregister(pipe.fd)
                    self._pipes = [other for other in self._pipes if other is not pipe]

    def _drain(self) -> list[Pipe]:
        """Reads what the pipes hold now; the caller has the lock. Gives the pipes that nobody can write to any more."""
        closed = []
        for pipe in self._pipes:
            for _ in range(1 + pipe.filled() // READ_SIZE):  # not until it is empty: a child may write for ever
                text = pipe.read()
                if text is None:
                    closed.append(pipe)
                    break
                if text:
                    self.append(self.owner(), pipe.stream, text)
        return closed

    def abandon(self) -> None:
        """In a forked child: what it prints goes through the pipes to its parent."""
        self._forked = True
        self._lock = threading.RLock()
        for pipe in self._pipes:
            os.close(pipe.fd)
        self._pipes = []

    def write_raw(self, fd: int, stream: str, text: str) -> None:
        """One write of Python code, wherever it runs."""
        if self._forked:
            view = memoryview(text.encode("utf-8", "replace"))
            while view:
                view = view[os.write(fd, view) :]
            return
        prediction = current.get()
        self.append(prediction if prediction in self._running else self.owner(), stream, text)
        if self.after_write is not None and not self._inside():
            self.after_write()


class Pipe:
    """The reading end of a pipe that stands in for a descriptor."""

    def __init__(self, fd: int, stream: str) -> None:
        self.fd = fd
        self.stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def filled(self) -> int:
        """Bytes that wait in it."""
        return int.from_bytes(fcntl.ioctl(self.fd, termios.FIONREAD, b"\0\0\0\0"), sys.byteorder)

    def read(self) -> str | None:
        """Some of what waits; None when nobody can write any more."""
        try:
            data = os.read(self.fd, READ_SIZE)
        except BlockingIOError:
            return ""
        return self._decode(data) if data else None


class Writer(io.TextIOBase):
    """What Python code finds as `sys.stdout` or `sys.stderr`."""

    def __init__(self, capture: Capture, stream: str, fd: int) -> None:
        self._capture = capture
        self._stream = stream
        self._fd = fd
        self.buffer = BytesWriter(self)

    encoding = "utf-8"
    errors = "replace"

    @property
    def name(self) -> str:
        """As of the interpreter's own streams."""
        return f"<{self._stream}>"

    mode = "w"

    def write(self, text: str) -> int:
        """Takes text; raises TypeError for anything else."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if text:
            self._capture.write_raw(self._fd, self._stream, text)
        return len(text)

    def flush(self) -> None:
        """Sends the beginning of a line."""
        self._capture.flush_writer(self._stream)

    def fileno(self) -> int:
        """1 or 2: for subprocesses that are handed this stream."""
        return self._fd

    def writable(self) -> bool:
        """Always."""
        return True

    def isatty(self) -> bool:
        """Never."""
        return False

    def close(self) -> None:
        """Keeps it open: others print here too."""

    def reconfigure(self, **_: Any) -> None:
        """Accepted, as the interpreter's own streams do; nothing here depends on it."""


class BytesWriter(io.BufferedIOBase):
    """What Python code finds as `sys.stdout.buffer`."""

    def __init__(self, text: Writer) -> None:
        self._text = text
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def write(self, data: Any) -> int:
        """Takes bytes."""
        view = bytes(data)
        self._text.write(self._decode(view))
        return len(view)

    def flush(self) -> None:
        """Sends the beginning of a line."""
        self._text.flush()

    def fileno(self) -> int:
        """1 or 2."""
        return self._text.fileno()

    def writable(self) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Keeps it open."""


def _flush_native() -> None:
    """Asks C's stdio for what it holds back, when a library has loaded what it takes to ask."""
    ctypes = sys.modules.get("ctypes")
    if ctypes is None:
        return
    library = _libc.get("c") or _libc.setdefault("c", ctypes.CDLL(None))
    try:
        name = "stdout" if sys.platform != "darwin" else "__stdoutp"
        library.fflush(ctypes.c_void_p.in_dll(library, name))
    except (ValueError, AttributeError, OSError):
        return


_libc: dict[str, Any] = {}
