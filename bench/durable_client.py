"""A caller who hands in durable predictions without waiting on that request: keeps some in flight, asks for results.

One thread, one connection for each prediction in flight: `POST`, answered when the row is safe; then `GET` with
`Prefer: wait`, answered when the prediction has ended, as Celery's `get()` is; then the next one.
"""

from __future__ import annotations

import re
import selectors
import socket
import statistics
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import load
import targets
from targets import Target


@dataclass(slots=True)
class _Caller:
    socket: socket.socket
    waiting_for: str = ""  # the prediction whose end is awaited; empty while one is being handed in
    began_at: float = 0.0
    data: bytes = b""


@dataclass(slots=True)
class _Run:
    target: Target
    host: str
    ends_at: float
    seconds: list[float] = field(default_factory=list)

    def hand_in(self, caller: _Caller) -> None:
        caller.waiting_for, caller.began_at = "", time.monotonic()
        body = {"version": self.target.version, "input": self.target.model.input}
        caller.socket.sendall(
            load.render(self.host, "POST", "/v1/predictions", body=body, headers=targets.authorization())
        )

    def ask_for_result(self, caller: _Caller) -> None:
        headers = {**targets.authorization(), "Prefer": "wait=30"}
        path = f"/v1/predictions/{caller.waiting_for}"
        caller.socket.sendall(load.render(self.host, "GET", path, headers=headers))

    def answered(self, caller: _Caller, status: int, body: bytes) -> None:
        if status not in {200, 201}:
            raise load.MeasuringError(f"{status}: {body[:300]!r}")
        if not caller.waiting_for:
            found = re.search(rb'"id": ?"([a-z0-9]+)"', body)
            if found is None:
                raise load.MeasuringError(f"no id: {body[:300]!r}")
            caller.waiting_for = found[1].decode()
            self.ask_for_result(caller)
        elif b'"succeeded"' in body and self.target.model.want.encode() in body:
            self.seconds.append(time.monotonic() - caller.began_at)
            if time.monotonic() < self.ends_at:
                self.hand_in(caller)
            else:
                caller.waiting_for = "over"
        else:
            raise load.MeasuringError(f"{body[:300]!r}")


def measure(target: Target, in_flight: int, seconds: int) -> tuple[float, float]:
    """Predictions a second from handing in to result seen, and the median of that time in ms."""
    host = urlsplit(target.server.url).netloc
    callers = [_Caller(socket=load.Connection(target.server.url).socket) for _ in range(in_flight)]
    began_at = time.monotonic()
    run = _Run(target=target, host=host, ends_at=began_at + seconds)
    with selectors.DefaultSelector() as selector:
        for caller in callers:
            selector.register(caller.socket, selectors.EVENT_READ, caller)
            run.hand_in(caller)
        while any(caller.waiting_for != "over" for caller in callers):
            _turn(run, selector)
    for caller in callers:
        caller.socket.close()
    return len(run.seconds) / (time.monotonic() - began_at), statistics.median(run.seconds) * 1e3


def _turn(run: _Run, selector: selectors.BaseSelector) -> None:
    ready = selector.select(30.0)
    if not ready:
        raise load.MeasuringError("the yard has not answered for 30 s")
    for key, _ in ready:
        caller: _Caller = key.data
        caller.data += caller.socket.recv(1 << 16)
        if (answer := _whole(caller.data)) is not None:
            caller.data = b""
            run.answered(caller, *answer)


def _whole(data: bytes) -> tuple[int, bytes] | None:
    """Status and body, once all of an answer is there."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    size = re.search(rb"\r\ncontent-length: *(\d+)", data[:end], re.IGNORECASE)
    if size is None or len(data) < end + 4 + int(size[1]):
        return None
    return int(data[9:12]), data[end + 4 :]
