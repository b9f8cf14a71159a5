"""The floor: the least that can stand between HTTP and a model in a process of its own.

A raw ASGI app on uvicorn in the parent, the model in a child, frames over a Unix socket pair; frames that wait together
travel together. No checks, no state, no logs, no cancellation, no files: what a product adds to this is what it costs.
It answers as much of Cog's HTTP API as the load generator asks for: `POST /predictions`, plain or as an event stream.

    python floor.py --port 5000 MODEL_FOLDER          (the model is `Runner` of run.py)
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import floor_child
import msgspec
import uvicorn

CHILD = floor_child.__file__


class Call(msgspec.Struct):
    """What a caller posts; the input passes through unread."""

    input: msgspec.Raw


class Floor:
    """The ASGI app. It starts the child when the server starts."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._number = 0
        self._waiting: dict[int, Callable[[int, bytes], None]] = {}
        self._call = msgspec.json.Decoder(Call)
        self._items = msgspec.json.Decoder(list[msgspec.Raw])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["path"] != "/predictions":
            await respond(send, b'{"status":"READY"}')
        elif any(name == b"accept" and b"event-stream" in value for name, value in scope["headers"]):
            await self._stream(await read(receive), send)
        else:
            await self._answer(await read(receive), send)

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        ours, theirs = socket.socketpair()
        command = [sys.executable, CHILD, str(theirs.fileno()), self._folder]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()
        ours.setblocking(False)
        _, self._link = await asyncio.get_running_loop().create_connection(
            lambda: floor_child.Link(self._arrived), sock=ours
        )
        await send({"type": "lifespan.startup.complete"})
        await receive()
        process.kill()
        process.wait()
        await send({"type": "lifespan.shutdown.complete"})

    def _arrived(self, number: int, kind: int, body: bytes) -> None:
        self._waiting[number](kind, body)

    def _start(self, body: bytes, on_frame: Callable[[int, bytes], None]) -> int:
        self._number = number = (self._number + 1) % (1 << 32)
        self._waiting[number] = on_frame
        self._link.send(number, floor_child.CALL, bytes(self._call.decode(body).input))
        return number

    async def _answer(self, body: bytes, send: Any) -> None:
        done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        number = self._start(body, lambda kind, output: done.set_result(output) if kind == floor_child.DONE else None)
        output = await done
        del self._waiting[number]
        await respond(send, b'{"id":"%d","output":%b,"status":"succeeded"}' % (number, output))

    async def _stream(self, body: bytes, send: Any) -> None:
        frames: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        number = self._start(body, lambda kind, items: frames.put_nowait((kind, items)))
        head = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
        await send(head)
        index, kind = 0, floor_child.ITEMS
        while kind != floor_child.DONE:
            arrived = [await frames.get()]
            while not frames.empty():
                arrived.append(frames.get_nowait())
            kind = arrived[-1][0]
            items = [bytes(item) for k, raw in arrived if k == floor_child.ITEMS for item in self._items.decode(raw)]
            pieces = [b'event: output\ndata: {"chunk":%b,"index":%d}\n\n' % (x, index + n) for n, x in enumerate(items)]
            index += len(items)
            if kind == floor_child.DONE:
                pieces.append(b'event: completed\ndata: {"id":"%d","status":"succeeded"}\n\n' % number)
            await send({"type": "http.response.body", "body": b"".join(pieces), "more_body": True})
        del self._waiting[number]
        await send({"type": "http.response.body", "body": b""})


async def read(receive: Any) -> bytes:
    message = await receive()
    body: bytes = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    return body


async def respond(send: Any, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    port, folder = int(sys.argv[2]), sys.argv[3]
    uvicorn.run(Floor(folder), port=port, loop="uvloop", http="httptools", access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
