"""A caller who hands in durable predictions and does not wait on the request: keeps some in flight, asks for results.

One thread, one connection for each prediction in flight: `POST`, then `GET` until it has ended, then the next one.
"""

from __future__ import annotations

import heapq
import json
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

# Seconds between two looks at a prediction that has not ended: short at first, since most are over in a moment.
PAUSES = (0.0, 0.001, 0.002, 0.004, 0.008, 0.016)


@dataclass(slots=True)
class _Caller:
    socket: socket.socket
    number: int
    waiting_for: str = ""  # the prediction whose end is awaited; empty while one is being handed in
    began_at: float = 0.0
    looks: int = 0
    data: bytes = b""


@dataclass(slots=True)
class _Run:
    target: Target
    host: str
    ends_at: float
    seconds: list[float] = field(default_factory=list)
    due: list[tuple[float, int]] = field(default_factory=list)

    def hand_in(self, caller: _Caller) -> None:
        caller.waiting_for, caller.looks, caller.began_at = "", 0, time.monotonic()
        body = {"version": self.target.version, "input": self.target.model.input}
        caller.socket.sendall(
            load.render(self.host, "POST", "/v1/predictions", body=body, headers=targets.authorization())
        )

    def look(self, caller: _Caller) -> None:
        path = f"/v1/predictions/{caller.waiting_for}"
        caller.socket.sendall(load.render(self.host, "GET", path, headers=targets.authorization()))

    def answered(self, caller: _Caller, status: int, body: bytes) -> None:
        if status not in {200, 201}:
            raise load.MeasuringError(f"{status}: {body[:300]!r}")
        if not caller.waiting_for:
            found = re.search(rb'"id": ?"([a-z0-9]+)"', body)
            if found is None:
                raise load.MeasuringError(f"no id: {body[:300]!r}")
            caller.waiting_for = found[1].decode()
            self.look(caller)
        elif b'"succeeded"' in body and self.target.model.want.encode() in body:
            self.seconds.append(time.monotonic() - caller.began_at)
            if time.monotonic() < self.ends_at:
                self.hand_in(caller)
            else:
                caller.waiting_for = "over"
        elif b'"failed"' in body:
            raise load.MeasuringError(f"{body[:300]!r}")
        else:
            caller.looks += 1
            pause = PAUSES[min(caller.looks, len(PAUSES) - 1)]
            heapq.heappush(self.due, (time.monotonic() + pause, caller.number))


def measure(target: Target, in_flight: int, seconds: int) -> tuple[float, float]:
    """Predictions a second from handing in to result seen, and the median of that time in ms."""
    host = urlsplit(target.server.url).netloc
    callers = [_Caller(socket=load.Connection(target.server.url).socket, number=n) for n in range(in_flight)]
    began_at = time.monotonic()
    run = _Run(target=target, host=host, ends_at=began_at + seconds)
    with selectors.DefaultSelector() as selector:
        for caller in callers:
            selector.register(caller.socket, selectors.EVENT_READ, caller)
            run.hand_in(caller)
        while any(caller.waiting_for != "over" for caller in callers):
            _turn(run, selector, callers)
    for caller in callers:
        caller.socket.close()
    return len(run.seconds) / (time.monotonic() - began_at), statistics.median(run.seconds) * 1e3


def _turn(run: _Run, selector: selectors.BaseSelector, callers: list[_Caller]) -> None:
    now = time.monotonic()
    while run.due and run.due[0][0] <= now:
        run.look(callers[heapq.heappop(run.due)[1]])
    timeout = max(0.0, run.due[0][0] - now) if run.due else 30.0
    for key, _ in selector.select(timeout):
        caller: _Caller = key.data
        caller.data += caller.socket.recv(1 << 16)
        if (answer := _whole(caller.data)) is not None:
            caller.data = b""
            run.answered(caller, *answer)
    if now > run.ends_at + 30:
        raise load.MeasuringError(json.dumps({"still in flight": [c.waiting_for for c in callers]}))


def _whole(data: bytes) -> tuple[int, bytes] | None:
    """Status and body, once all of an answer is there."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    size = re.search(rb"\r\ncontent-length: *(\d+)", data[:end], re.IGNORECASE)
    if size is None or len(data) < end + 4 + int(size[1]):
        return None
    return int(data[9:12]), data[end + 4 :]
