"""The floor's child: holds the model, takes calls off the link and answers them. Also the link itself, for both ends.

A frame is twelve bytes, length, prediction and kind, and that many bytes of JSON: the input on the way down, on the way
up an array of items (ITEMS) or the output (DONE). Standard library only: it runs where the model runs.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HEAD = struct.Struct(">III")
CALL, ITEMS, DONE = range(3)
# Seconds that an item of a stream may wait for company, if another left just before it.
COMPANY_SECONDS = 0.001


def split(buffer: bytearray) -> Iterator[tuple[int, int, bytes]]:
    """Take every whole frame (prediction, kind, JSON) off the front of a buffer."""
    at = 0
    while len(buffer) - at >= HEAD.size:
        length, number, kind = HEAD.unpack_from(buffer, at)
        if len(buffer) - at < HEAD.size + length:
            break
        yield number, kind, bytes(buffer[at + HEAD.size : at + HEAD.size + length])
        at += HEAD.size + length
    del buffer[:at]


class Link(asyncio.Protocol):
    """One end of the socket pair in an event loop: what is sent in one turn of the loop leaves in one write."""

    def __init__(self, on_frame: Callable[[int, int, bytes], None]) -> None:
        self._on_frame = on_frame
        self._buffer = bytearray()
        self._outbox: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        for frame in split(self._buffer):
            self._on_frame(*frame)

    def send(self, number: int, kind: int, body: bytes) -> None:
        if not self._outbox:
            self._loop.call_soon(self.flush)
        self._outbox.append(HEAD.pack(len(body), number, kind))
        self._outbox.append(body)

    def flush(self) -> None:
        if self._outbox:
            self._transport.write(b"".join(self._outbox))
            self._outbox.clear()


class Batch:
    """The items of one stream: alone they leave at once, close behind one another they leave together."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._items: list[Any] = []
        self._left_at = 0.0

    def add(self, item: Any) -> None:
        self._items.append(item)
        if time.monotonic() - self._left_at > COMPANY_SECONDS:
            self.flush()

    def flush(self) -> None:
        items, self._items = self._items, []
        if items:
            self._send(json.dumps(items, separators=(",", ":")).encode())
            self._left_at = time.monotonic()


def load(folder: str) -> Callable[..., Any]:
    spec = importlib.util.spec_from_file_location("run", Path(folder) / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    runner: Any = module.Runner()
    if hasattr(runner, "setup"):
        runner.setup()
    run: Callable[..., Any] = runner.run
    return run


async def serve_async(run: Callable[..., Any], link_socket: socket.socket) -> None:
    running: set[asyncio.Task[None]] = set()
    streams = inspect.isasyncgenfunction(run)

    async def answer(number: int, body: bytes) -> None:
        if not streams:
            link.send(number, DONE, json.dumps(await run(**json.loads(body))).encode())
            return

        def send_now(items: bytes) -> None:
            link.send(number, ITEMS, items)
            link.flush()

        batch = Batch(send_now)
        async for item in run(**json.loads(body)):
            batch.add(item)
            asyncio.get_running_loop().call_soon(batch.flush)
        batch.flush()
        link.send(number, DONE, b"null")

    def start(number: int, _kind: int, body: bytes) -> None:
        task = asyncio.ensure_future(answer(number, body))
        running.add(task)
        task.add_done_callback(running.discard)

    _, link = await asyncio.get_running_loop().create_connection(lambda: Link(start), sock=link_socket)
    await asyncio.get_running_loop().create_future()


def serve_sync(run: Callable[..., Any], link_socket: socket.socket) -> None:
    buffer = bytearray()
    while data := link_socket.recv(1 << 18):
        buffer += data
        for number, _, body in split(buffer):
            output = run(**json.loads(body))
            if inspect.isgenerator(output):
                send_items(output, lambda items, n=number: link_socket.sendall(HEAD.pack(len(items), n, ITEMS) + items))
                output = None
            answer = json.dumps(output).encode()
            link_socket.sendall(HEAD.pack(len(answer), number, DONE) + answer)


def send_items(items: Iterator[Any], send: Callable[[bytes], None]) -> None:
    lock, ended = threading.Lock(), threading.Event()
    batch = Batch(send)

    def flush_stragglers() -> None:
        while not ended.wait(COMPANY_SECONDS):
            with lock:
                batch.flush()

    straggler = threading.Thread(target=flush_stragglers)
    straggler.start()
    for item in items:
        with lock:
            batch.add(item)
    ended.set()
    straggler.join()
    batch.flush()


def main() -> None:
    descriptor, folder = int(sys.argv[1]), sys.argv[2]
    run, link_socket = load(folder), socket.socket(fileno=descriptor)
    if inspect.iscoroutinefunction(run) or inspect.isasyncgenfunction(run):
        link_socket.setblocking(False)
        asyncio.run(serve_async(run, link_socket))
    else:
        serve_sync(run, link_socket)


if __name__ == "__main__":
    main()
