"""The load generator: wrk for many equal requests, and a plain socket where answers decide what is asked next."""

from __future__ import annotations

import json
import os
import re
import selectors
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
AGAIN = "load.lua"
DURABLE = "durable.lua"


class MeasuringError(Exception):
    """A server answered wrongly or not at all, so that there is no figure to give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request of a measurement and what a right answer to it holds.

    `url` is where predictions are made; `want` is text that every right answer has in its body.
    """

    url: str
    body: Mapping[str, Any]
    want: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What came of a round: right answers a second, their latency in ms, and how many were refused (409, 429)."""

    per_second: float
    p50_ms: float
    p99_ms: float
    refused: int


def wrk(call: Call, *, connections: int, seconds: int, script: str = AGAIN) -> Load:
    """Send one call over keep-alive connections for some seconds. Raises MeasuringError for any wrong answer.

    `script`: AGAIN, the call over and over; or DURABLE, handed in and asked for, with a thread for each connection.
    """
    environment = {
        **os.environ,
        "BENCH_BODY": json.dumps(call.body),
        "BENCH_WANT": call.want,
        **{f"BENCH_{'AUTH' if n == 'Authorization' else n.upper()}": value for n, value in call.headers.items()},
    }
    threads = connections if script == DURABLE else 1
    size = [f"-t{threads}", f"-c{connections}", f"-d{seconds}s"]
    command = ["wrk", *size, "--timeout", "20s", "-s", str(HERE / script), call.url]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    report = re.search(r"^BENCH (.*)$", done.stdout, re.MULTILINE)
    if report is None:
        raise MeasuringError(f"wrk said: {done.stdout} {done.stderr}")
    seen = json.loads(report[1])
    if seen["wrong"] or seen["broken"] or not seen["good"]:
        example = re.search(r"^EXAMPLE (.*)$", done.stdout, re.MULTILINE)
        raise MeasuringError(f"{call.url}: {seen} {example[1] if example else ''}")
    return Load(
        per_second=seen["good"] / seen["seconds"],
        p50_ms=seen["p50_ms"],
        p99_ms=seen["p99_ms"],
        refused=seen["refused"],
    )


class Connection:
    """One keep-alive HTTP/1.1 connection over a plain socket, blocking."""

    def __init__(self, url: str, *, timeout: float = 60) -> None:
        parts = urlsplit(url)
        self._host = parts.netloc
        self.socket = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(
        self, method: str, path: str, *, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Send a request and read its whole answer: status and body."""
        self.socket.sendall(render(self._host, method, path, body=body, headers=headers))
        data = bytearray()
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        size = re.search(rb"\r\ncontent-length: *(\d+)", data[:end], re.IGNORECASE)
        status = int(data[9:12])
        if size is None:
            while not data.endswith(b"0\r\n\r\n"):
                data += self._more()
            return status, unchunk(bytes(data[end + 4 :]))
        while len(data) < end + 4 + int(size[1]):
            data += self._more()
        return status, bytes(data[end + 4 :])

    def _more(self) -> bytes:
        data = self.socket.recv(1 << 16)
        if not data:
            raise MeasuringError("the server closed the connection")
        return data

    def close(self) -> None:
        self.socket.close()


def render(host: str, method: str, path: str, *, body: Any = None, headers: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a request; a body of bytes is sent as it is."""
    payload = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{n}: {v}" for n, v in (headers or {}).items())]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(payload)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + payload


def unchunk(data: bytes) -> bytes:
    """A body out of chunked transfer coding; what is not whole yet is left out."""
    pieces = []
    while data:
        size, _, rest = data.partition(b"\r\n")
        if not size or not rest or not (length := int(size, 16)):
            break
        pieces.append(rest[:length])
        data = rest[length + 2 :]
    return b"".join(pieces)


# Streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """The request that answers with an event stream. `started_at` (monotonic) is set where another came before it."""

    url: str
    method: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    started_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """What one event stream brought: seconds from the request to its end and to its first token, and when each token
    came (`time.monotonic()` and the token)."""

    seconds: float
    first_seconds: float
    tokens: list[tuple[float, str]]


class _Reader:
    """One stream being read: arrivals are only noted down, and understood when the clock has stopped."""

    def __init__(self, opening: Opening) -> None:
        self._connection = Connection(opening.url)
        self.socket = self._connection.socket
        self.started_at = opening.started_at or time.monotonic()
        self.arrivals: list[tuple[float, bytes]] = []
        self._tail = b""
        self._last_event = False
        parts = urlsplit(opening.url)
        headers = {**opening.headers, "Accept": "text/event-stream"}
        self.socket.sendall(render(parts.netloc, opening.method, parts.path, body=opening.body, headers=headers))

    def read(self) -> bool:
        """Take what has come; is the stream at its end?"""
        data = self.socket.recv(1 << 20)
        self.arrivals.append((time.monotonic(), data))
        if len(self.arrivals) == 1 and not data.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")):
            raise MeasuringError(f"no stream: {data[:300]!r}")
        recent = self._tail + data
        self._last_event = self._last_event or b"\nevent: completed" in recent or b"\nevent: done" in recent
        self._tail = recent[-30:]
        return not data or (self._last_event and b"\n\n" in self._tail[-16:])

    def result(self) -> Stream:
        tokens = list(_tokens(self.arrivals))
        self._connection.close()
        ended = self.arrivals[-1][0] - self.started_at
        return Stream(seconds=ended, first_seconds=tokens[0][0] - self.started_at, tokens=tokens)


def _tokens(arrivals: list[tuple[float, bytes]]) -> Iterator[tuple[float, str]]:
    """Each token with the time of the read that completed its event. Understands Cog's events and Replicate's."""
    text, event, data = "", "", list[str]()
    for at, raw in arrivals:
        text += raw.decode()
        *lines, text = text.split("\n")
        for line in lines:
            name, _, value = line.partition(":")
            if name == "event":
                event = value.strip()
            elif name == "data":
                data.append(value.removeprefix(" "))
            elif not line.strip() and data:
                if event == "output":
                    yield at, _token("\n".join(data))
                event, data = "", []


def _token(data: str) -> str:
    return str(json.loads(data)["chunk"]) if data.startswith('{"') else data


def read_streams(openings: Iterable[Opening]) -> list[Stream]:
    """Open streams one right after another and read all of them to their ends."""
    readers = []
    with selectors.DefaultSelector() as selector:
        for opening in openings:
            readers.append(_Reader(opening))
            selector.register(readers[-1].socket, selectors.EVENT_READ, readers[-1])
        while selector.get_map():
            ready = selector.select(timeout=20)
            if not ready:
                raise MeasuringError("a stream fell silent for 20 s")
            for key, _ in ready:
                if key.data.read():
                    selector.unregister(key.fileobj)
    return [reader.result() for reader in readers]
