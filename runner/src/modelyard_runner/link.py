"""The worker's end of the link: dials out, sends frames together that wait together, dials again.

Anybody may post; nobody is woken for it where that can be avoided. A frame that ends something leaves at once,
from the thread that posts it, with everything that waits. Others leave at once when nothing was sent for a
millisecond, else they wait for the next such moment, and `on_pending` tells whoever flushes soon that they do.
The socket blocks for those who receive and never for those who send.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import threading
from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Any

from modelyard_runner import protocol
from modelyard_runner.keeper import Keeper

quote: Callable[[str], str] = encode_basestring
_parse = json.JSONDecoder().raw_decode

# Unsent bytes above which whoever posts waits, and below which it goes on.
HIGH_WATER = 4 * 1024 * 1024
LOW_WATER = 1024 * 1024
# Seconds that a frame may wait for company.
LINGER = 0.001
# Pieces that leave at once, one by one: a process that dies takes with it what lingers, and its last words are what its
# author needs. Whoever prints more than this has it again only as time goes by, in pieces a second.
AT_ONCE, AT_ONCE_AGAIN = 32, 2000
# Characters of items or of log text that share a frame.
BATCH_SIZE = 128 * 1024
RECEIVE_SIZE = 64 * 1024
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0

OUTPUT = "output"
STARTED = "started"
# To whom a piece of log belongs when it is no prediction's: to the setup, or to the instance.
SETUP, INSTANCE = "\0setup", "\0instance"


class LinkLostError(Exception):
    """The other side is gone, or sends what is no frame."""


class Batch:
    """Items or log text of one prediction, or that it started, which wait to leave as one frame."""

    __slots__ = ("count", "head", "kind", "parts", "size")

    def __init__(self, kind: str, head: str) -> None:
        self.kind = kind
        self.head = head
        self.parts: list[str] = []
        self.count = 0
        self.size = 0


class Allowance:
    """How many pieces may leave one by one."""

    def __init__(self) -> None:
        self._left, self._at = float(AT_ONCE), 0.0

    def take(self, now: float) -> bool:
        """Whether one more may."""
        self._left = min(AT_ONCE, self._left + (now - self._at) * AT_ONCE_AGAIN)
        self._at = now
        allowed = self._left >= 1
        self._left -= allowed
        return allowed


class Link:
    """One worker's connection to whoever supervises it; survives breaks when it has a `keeper`."""

    def __init__(self, address: str, token: str, *, keeper: Keeper | None, clock: Callable[[], float]) -> None:
        self._address = address
        self._token = token
        self._keeper = keeper
        self._clock = clock
        self._lock = threading.RLock()
        # Whether this thread is inside of a method that changes what is to be sent.
        self.held: Callable[[], bool] = self._lock._is_owned  # type: ignore[attr-defined]
        self._socket: socket.socket | None = None
        self._decoder = _decoder()
        self._seq = 0
        self._open: dict[str, Batch] = {}
        self._out: list[bytes] = []
        self._rest = memoryview(b"")
        self._size = 0
        self._crowded = False
        self._sent_at = 0.0
        self._allowance = Allowance()
        self.on_pending: Callable[[], None] = _nothing
        # Set while a prediction is being cancelled: it must not be kept waiting for room.
        self.hurry = False
        # What else `hello` says of this worker.
        self.facts: dict[str, Any] = {}

    # Posting -------------------------------------------------------------------------------------------------

    def post(
        self, head: str, *, owner: str = INSTANCE, starts: bool = False, ends: bool = False, urgent: bool = False
    ) -> None:
        """Queues one frame, given as JSON without its closing brace, behind what waits of its `owner`, a prediction.

        `starts`: it is the first frame of that prediction and leaves soon, unless the last one (`ends`) comes before.
        `urgent`: it leaves now, with everything that waits.
        """
        if starts:
            with self._lock:
                self._open[owner] = Batch(STARTED, head)
            self.on_pending()
            return
        if self._crowded:
            self._wait_for_room()
        with self._lock:
            batch = self._open.pop(owner, None) if self._open else None
            # What ends before anybody heard that it began says both at once: how long it ran tells when it began.
            if batch is not None and not (ends and batch.kind == STARTED):
                self._seal(_head(batch))
            self._seal(head)
            if ends and self._keeper is not None:
                self._keeper.end(self._seq, owner)
            if urgent:
                self._flush()
        if not urgent:
            self.on_pending()

    def post_item(self, prediction: str, key: str, index: int, text: str) -> None:
        """Queues one item of an iterator, encoded; items of one prediction that wait together share a frame."""
        if self._crowded:
            self._wait_for_room()
        with self._lock:
            batch = self._open.get(prediction)
            if batch is None or batch.kind != OUTPUT or batch.count >= protocol.MAX_BATCH_ITEMS:
                batch = self._begin(prediction, OUTPUT, f'{{"kind":"output","id":{key},"index":{index},"values":[')
            self._add(prediction, batch, text)

    def post_log(self, owner: str, stream: str, text: str, copy: bool = False) -> None:
        """Queues text that `owner` printed: a prediction, or SETUP, or INSTANCE. `copy`: another one has it too."""
        if self._crowded:
            self._wait_for_room()
        with self._lock:
            batch = self._open.get(owner)
            kind = f"{stream} copy" if copy else stream
            if batch is None or batch.kind != kind:
                batch = self._begin(owner, kind, _log_head(owner, stream, copy))
            self._add(owner, batch, text)

    def _begin(self, owner: str, kind: str, head: str) -> Batch:
        if owner in self._open:
            self._seal(_head(self._open.pop(owner)))
        batch = self._open[owner] = Batch(kind, head)
        return batch

    def _add(self, owner: str, batch: Batch, text: str) -> None:
        batch.parts.append(text)
        batch.count += 1
        batch.size += len(text)
        if batch.size > BATCH_SIZE:
            self._seal(_head(self._open.pop(owner)))
        now = self._clock()
        if owner == SETUP or self._allowance.take(now) or now - self._sent_at > LINGER:
            self._flush()
            if not self._size:
                return
        self.on_pending()

    def _seal_all(self) -> None:
        if self._open:
            batches, self._open = self._open, {}
            for batch in batches.values():
                self._seal(_head(batch))

    def _seal(self, head: str) -> None:
        self._seq += 1
        text = f'{head},"seq":{self._seq}}}'
        try:
            body = text.encode()
        except UnicodeEncodeError:  # half a surrogate pair: UTF-8 has no bytes for it
            body = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
        data = protocol.wrap(body)
        if self._keeper is not None:
            self._keeper.add(self._seq, data)
        if self._socket is not None:
            self._out.append(data)
            self._size += len(data)
            self._crowded = self._size > HIGH_WATER
        else:
            self._crowded = self._keeper is not None and self._keeper.full

    # Sending -------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether something waits to be sent over a link that is there."""
        return self._socket is not None and bool(self._open or self._size)

    @property
    def crowded(self) -> bool:
        """Whether more waits than should: who can wait without blocking others waits until it is not."""
        return self._crowded

    def flush(self) -> None:
        """Sends what waits, as far as the socket takes it."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        self._seal_all()
        sender = self._socket
        if sender is None:
            return
        self._sent_at = self._clock()
        while self._rest or self._out:
            if not self._rest:
                self._rest = memoryview(self._out[0] if len(self._out) == 1 else b"".join(self._out))
                self._out.clear()
            try:
                sent = sender.send(self._rest, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                self._drop()  # whoever receives will see the end of the link, and acts on it
                return
            self._size -= sent
            self._rest = self._rest[sent:]
        self._crowded = False

    def _wait_for_room(self) -> None:
        while not self.hurry:
            with self._lock:
                self._flush()
                sender = self._socket
                full = self._size > LOW_WATER if sender else self._keeper is not None and self._keeper.full
                if not full:
                    self._crowded = False
                    return
            poller = select.poll()
            if sender is not None:
                poller.register(sender, select.POLLOUT)
            poller.poll(50)

    def _drop(self) -> None:
        self._out.clear()
        self._rest = memoryview(b"")
        self._size = 0
        self._crowded = False
        self._sent_at = 0.0

    # Receiving -----------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """The socket to wait on; -1 when there is none."""
        return -1 if self._socket is None else self._socket.fileno()

    def receive(self, *, wait: bool, within: float | None = None) -> list[protocol.Frame]:
        """Frames that have come (never an `ack`: those are dealt with here). Raises LinkLostError.

        `wait`: until there are some, or for `within` seconds.
        """
        receiver = self._socket
        if receiver is None:
            raise LinkLostError
        if within is not None and not _readable(receiver, within):
            return []
        try:
            data = receiver.recv(RECEIVE_SIZE, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError as error:
            raise LinkLostError from error
        if not data:
            raise LinkLostError
        try:
            frames = self._decoder.feed(data)
        except protocol.ProtocolError as error:
            raise LinkLostError from error
        if self._keeper is None:
            return frames
        return [frame for frame in frames if not self._acknowledged(frame, self._keeper)]

    def _acknowledged(self, frame: protocol.Frame, keeper: Keeper) -> bool:
        if frame.get("kind") != "ack":
            return False
        with self._lock:
            keeper.ack(frame["seq"])
        return True

    def hold(self, prediction: str) -> bool:
        """Counts a prediction as held; False when it is held already (sent twice over a link that broke)."""
        if self._keeper is None:
            return True
        with self._lock:
            if self._keeper.holds(prediction):
                return False
            self._keeper.hold(prediction)
            return True

    @property
    def settled(self) -> bool:
        """Whether nothing is left to send or to be acknowledged."""
        return not self.pending and (self._keeper is None or self._keeper.empty)

    # Dialling ------------------------------------------------------------------------------------------------

    @property
    def survives(self) -> bool:
        """Whether the work goes on when the link breaks."""
        return self._keeper is not None

    def dial(self, within: float, *, resumes: bool = False) -> bool:
        """Connects and says hello, again and again for `within` seconds. False: nobody answered."""
        self.disconnect()
        until = self._clock() + within
        pause = FIRST_PAUSE
        while True:
            try:
                connection = _connect(self._address)
                self._greet(connection, resumes)
            except OSError:
                if self._clock() + pause > until:
                    return False
                select.poll().poll(pause * 1000)
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                return True

    def _greet(self, connection: socket.socket, resumes: bool) -> None:
        keeper = self._keeper
        hello: dict[str, Any] = {
            "kind": "hello",
            "token": self._token,
            "protocol": protocol.VERSION,
            "pid": os.getpid(),
            "python": sys.version.split()[0],
            **self.facts,
        }
        with self._lock:
            hello |= {"resumes": resumes, "running": keeper.held() if keeper else []}
        connection.sendall(protocol.encode(hello))
        sent = keeper.spooled[0] if keeper else 0
        while keeper is not None:
            with self._lock:
                end = keeper.spooled[1]
                piece = keeper.read(sent, end) if end > sent else b""
                if not piece:
                    self._attach(connection, keeper.remembered())
                    return
            connection.sendall(piece)
            sent += len(piece)
        with self._lock:
            self._attach(connection, [])

    def _attach(self, connection: socket.socket, frames: list[bytes]) -> None:
        self._drop()
        self._decoder = _decoder()
        self._socket = connection
        self._out.extend(frames)
        self._size = sum(map(len, frames))
        self._flush()

    def disconnect(self) -> None:
        """Lets go of the socket; what is posted from now on is kept, or dropped when nothing is kept."""
        with self._lock:
            old, self._socket = self._socket, None
            self._drop()
        if old is not None:
            old.close()

    def abandon(self) -> None:
        """In a forked child: the link is the parent's alone, and its lock may have been held."""
        self._lock = threading.RLock()
        self._keeper = None
        self.on_pending = _nothing
        self.disconnect()


def _decoder() -> protocol.Decoder:
    return protocol.Decoder(_loads)


def _loads(data: bytes) -> Any:
    return _parse(data.decode())[0]


def _nothing() -> None:
    pass


def _readable(receiver: socket.socket, within: float) -> bool:
    poller = select.poll()
    poller.register(receiver, select.POLLIN)
    return bool(poller.poll(within * 1000))


def _head(batch: Batch) -> str:
    """The frame of a batch, without its closing brace."""
    if batch.kind == STARTED:
        return batch.head
    if batch.kind == OUTPUT:
        return f"{batch.head}{','.join(batch.parts)}]"
    return f"{batch.head}{quote(''.join(batch.parts))}"


def _log_head(owner: str, stream: str, copy: bool) -> str:
    if owner == SETUP:
        return f'{{"kind":"setup","stream":"{stream}","text":'
    key = "null" if owner == INSTANCE else quote(owner)
    marked = '"copy":true,' if copy else ""
    return f'{{"kind":"log","id":{key},"stream":"{stream}",{marked}"text":'


def _connect(address: str) -> socket.socket:
    scheme, _, rest = address.partition(":")
    if scheme == "unix":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(rest)
        except OSError:
            connection.close()
            raise
        return connection
    if scheme != "tcp":
        raise ValueError(f"link {address!r}: expected unix:/path or tcp:host:port")
    host, _, port = rest.rpartition(":")
    connection = socket.create_connection((host.strip("[]"), int(port)), timeout=10)
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return connection
