"""What a yard holds on to while it runs: its data folder, alone; its address; and how it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TextIO

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from modelyard import exchange, ids, rest
from modelyard.errors import BadRequest, Conflict, Forbidden, ModelyardError

log = logging.getLogger(__name__)

# Whoever has this file locked runs on the data folder; in it stands who that is.
LOCK_FILE = "yard.lock"
_LOCK_ATTEMPTS, _LOCK_AGAIN_SECONDS = 4, 0.05
# How long a client that was answered in the middle of its body may go on sending it.
LINGER_SECONDS = 30.0
# What a client that speaks TLS says first.
_TLS = b"\x16\x03"
# Below the data folder.
_FOLDERS = ("blobs", "caches", "instances", "journals", "store", "uploads")


@contextlib.contextmanager
def alone_in(data: Path) -> Iterator[Callable[[str], None]]:
    """Hold the data folder alone. Raises Conflict when another yard has it, Forbidden without access.

    What is given writes down at which address this process answers, for `yard down` and for people who look.
    """
    try:
        # Inputs and outputs of everybody who uses the yard are in it.
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (data / LOCK_FILE).open("a+")
    except OSError as error:
        raise Forbidden(
            f"The data folder {data} cannot be used: {error.strerror or error}.",
            hint="Choose another folder with --data, or give this user access to it.",
        ) from None
    with lock:
        if not _locked(lock):
            raise Conflict(
                f"Another yard is running on the data folder {data}.",
                hint="Stop that one first, or give this one another folder with --data.",
            )
        _write_down(lock, {"pid": os.getpid()})
        yield lambda address: _write_down(lock, {"pid": os.getpid(), "url": address})
        _write_down(lock, {})


def _locked(lock: TextIO) -> bool:
    for _ in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            # Somebody may just be looking whether a yard runs here.
            time.sleep(_LOCK_AGAIN_SECONDS)
        else:
            return True
    return False


def _write_down(lock: TextIO, facts: dict[str, object]) -> None:
    lock.truncate(0)
    lock.write(json.dumps(facts) if facts else "")
    lock.flush()


def open_folders(data: Path, database: Path | None) -> None:
    """Make what a yard writes into. Raises Forbidden for what is closed: it could start over it and then do no work."""
    for folder in (data, *(data / name for name in _FOLDERS)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(folder, error.strerror or str(error)) from None
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise _unusable(folder, "this user may not read and write in it")
    if database is not None and database.exists() and not os.access(database, os.R_OK | os.W_OK):
        raise _unusable(database, "this user may not read and write it")


def _unusable(path: Path, why: str) -> Forbidden:
    hint = "Give this user access to it, or choose another folder with --data."
    return Forbidden(f"{path} cannot be used: {why}.", hint=hint)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ModelyardError with the reason when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(2048)
    except (OSError, OverflowError) as error:
        sock.close()
        number = getattr(error, "errno", None)
        if number == errno.EADDRINUSE:
            raise Conflict(
                f"Port {port} on {host} is in use.", hint="Choose another with --port, or 0 for a free one."
            ) from None
        if number == errno.EACCES:
            raise Forbidden(f"This user may not listen on port {port}.", hint="Choose a port above 1023.") from None
        raise ModelyardError(f"Cannot listen on {host}:{port}: {error}") from None
    sock.setblocking(False)
    return sock


class Server(uvicorn.Server):
    """uvicorn, with its signals left to us: the first one asks for a drain, a second one ends everything at once."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


class _LastAnswer:
    """A connection as its last request sees it: closed only when all of that request has come.

    Closed earlier, the bytes on their way would be answered with a reset, which takes the answer away from a client
    that still sends. docker asks for connections of this kind, and would try a layer again and again that was refused.
    """

    def __init__(self, cycle: RequestResponseCycle, loop: asyncio.AbstractEventLoop) -> None:
        self._cycle = cycle
        self._transport = cycle.transport
        self._loop = loop
        self.lingers = False

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def is_closing(self) -> bool:
        return self.lingers or self._transport.is_closing()

    def close(self) -> None:
        if not self._cycle.more_body or self._transport.is_closing():
            self._transport.close()
        elif not self.lingers:
            self.lingers = True
            if self._transport.can_write_eof():
                self._transport.write_eof()
            self._loop.call_later(LINGER_SECONDS, self._transport.close)


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol with a short way for whole answers: one system call and one packet, not two of each."""

    def data_received(self, data: bytes) -> None:
        """Something came. docker tries TLS first, also where a port is plain, so that is no fault to warn of."""
        if self.cycle is None and data.startswith(_TLS):
            log.debug("somebody spoke TLS to this plain port")
            self.send_400_response("")
        else:
            super().data_received(data)

    def on_headers_complete(self) -> None:
        """The parser's word for: the head of a request is there."""
        super().on_headers_complete()
        if self.cycle is not None and self.cycle.scope is self.scope:
            self.scope[rest.AT_ONCE] = partial(_at_once, self.cycle)  # type: ignore[literal-required]
            self.scope[rest.CUT_OFF] = partial(_cut_off, self.cycle)  # type: ignore[literal-required]
            if not self.cycle.keep_alive:
                self.cycle.transport = _LastAnswer(self.cycle, self.loop)  # type: ignore[assignment]

    def on_message_complete(self) -> None:
        """The parser's word for: all of a request is there."""
        super().on_message_complete()
        if self.cycle is not None and isinstance(self.cycle.transport, _LastAnswer) and self.cycle.transport.lingers:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read as a request the way that doors answer; no door is reached."""
        error = BadRequest("What was sent is not HTTP, or nothing that can be read as such.")
        body = rest.problem_body(error)
        headers = [
            *rest.problem_headers(error),
            (exchange.NAME, ids.new_id().encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        lines = [b"%b: %b\r\n" % each for each in headers]
        self.transport.write(b"".join([STATUS_LINE[400], *lines, b"\r\n", body]))
        self.transport.close()


def _at_once(cycle: RequestResponseCycle, status: int, headers: rest.Headers, body: bytes) -> bool:
    """Answer; False, and nothing done, where that has to go the ordinary way."""
    if cycle.transport.is_closing():
        # Where several requests came in one packet, uvicorn tells the last of them alone that their client left.
        cycle.disconnected = True
    busy = cycle.response_started or cycle.disconnected or cycle.flow.write_paused
    if busy or cycle.scope["method"] == "HEAD":
        return False
    answer = [STATUS_LINE[status]]
    for name, value in headers:
        answer += (name, b": ", value, b"\r\n")
    answer += (b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n", body)
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(b"".join(answer))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True


def _cut_off(cycle: RequestResponseCycle) -> None:
    """End the connection, so that nobody takes for whole what was sent of an answer. uvicorn would do the same and
    call it an error of ours; that the answer is of no use to its client any more is what it takes for the usual."""
    cycle.disconnected = True
    cycle.transport.close()


class Signals:
    """SIGTERM and SIGINT as events: `asked` after the first one, `insisted` after the second; `last` tells which.

    `renew`: SIGHUP came, which asks for what was changed on the disk to be read again.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.insisted = asyncio.Event()
        self.renew = asyncio.Event()
        self.last: signal.Signals | None = None

    def watch(self, report: Callable[[str], None], *, renewing: bool = False) -> None:
        """Install the handlers. `renewing`: something is read again at SIGHUP, which else ends a process."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._got, number, report)
        if renewing:
            loop.add_signal_handler(signal.SIGHUP, self.renew.set)

    def _got(self, number: signal.Signals, report: Callable[[str], None]) -> None:
        self.last = number
        if self.asked.is_set():
            self.insisted.set()
        else:
            self.asked.set()
            report("Stopping: what runs may finish; once more to stop at once.")
