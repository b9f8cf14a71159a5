"""The parent's end of a link: frames in by the chunk, frames out by the turn of the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from modelyard_runner import frames, protocol

log = logging.getLogger(__name__)

# Frames that leave before the turn of the loop is over: the worker begins with them while the rest is being read.
TOGETHER = 8

_encode = msgspec.json.Encoder().encode


class Channel(asyncio.Protocol):
    """One worker's connection. `on_frames` gets every frame that one piece of bytes completes, in order."""

    def __init__(
        self,
        on_frames: Callable[[Channel, list[frames.Frame]], None],
        on_close: Callable[[Channel, Exception | None], None],
    ) -> None:
        self._on_frames = on_frames
        self._on_close = on_close
        self._decoder = protocol.Decoder(frames.decode)
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's word for: it is open."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """asyncio's word for: bytes came."""
        try:
            received = [frame for frame in self._decoder.feed(data) if frame is not None]
        except protocol.ProtocolError as error:
            log.error("a worker sent what is no frame: %s", error)
            self.close()
            return
        if received:
            self._on_frames(self, received)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's word for: it is over."""
        self._transport = None
        self._on_close(self, exc)

    def send(self, frame: dict[str, Any]) -> None:
        """Send one frame; those of one turn of the loop leave together, TOGETHER at most. After the end: nowhere."""
        self.send_raw(_encode(frame))

    def send_raw(self, body: bytes) -> None:
        """Send one frame that is JSON already."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(protocol.LENGTH.pack(len(body)))
        self._out.append(body)
        if len(self._out) >= 2 * TOGETHER:
            self._flush()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self._transport is not None:
            self._transport.write(b"".join(out))

    def pause(self) -> None:
        """Read no more for now: the worker will wait."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None:
            self._transport.resume_reading()

    def close(self) -> None:
        """Send what waits, then hang up."""
        self._flush()
        if self._transport is not None:
            self._transport.close()
