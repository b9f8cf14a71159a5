"""Where a supervisor's worker dials in: a socket of its own, and a token that only the expected worker knows."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from modelyard_runner import frames
from modelyard_runner.channel import Channel

log = logging.getLogger(__name__)

# A Unix socket's path has 104 bytes on macOS and 108 on Linux.
MAX_SOCKET_PATH = 100


class Dock:
    """Takes one connection for each token that it is told to expect; `channel` is the present one."""

    def __init__(
        self,
        *,
        on_hello: Callable[[frames.Hello], None],
        on_frames: Callable[[list[frames.Frame]], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._on_hello = on_hello
        self._on_frames = on_frames
        self._on_lost = on_lost
        self._token = b""
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._folder: Path | None = None
        self.channel: Channel | None = None

    async def open(self, scratch: Path) -> str:
        """Listens in `scratch`, or elsewhere if that path is too long; gives the address. Raises OSError."""
        path = scratch / "link.sock"
        if len(str(path)) > MAX_SOCKET_PATH:
            self._folder = Path(tempfile.mkdtemp(prefix="modelyard-"))
            path = self._folder / "link.sock"
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: Channel(self._received, self._closed), str(path))
        path.chmod(0o600)
        self._path = path
        return f"unix:{path}"

    def expect(self) -> str:
        """The token of the next worker; an earlier one means nothing any more."""
        token = secrets.token_hex(20)
        self._token = token.encode()
        return token

    def _received(self, channel: Channel, received: list[frames.Frame]) -> None:
        if channel is not self.channel:
            hello = received.pop(0)
            known = isinstance(hello, frames.Hello) and secrets.compare_digest(hello.token.encode(), self._token)
            if not known or not isinstance(hello, frames.Hello):
                log.warning("a connection without the token of the worker was turned away")
                channel.close()
                return
            self._token = secrets.token_bytes(20)  # good for one connection
            self.channel = channel
            self._on_hello(hello)
        if received:
            self._on_frames(received)

    def _closed(self, channel: Channel, error: Exception | None) -> None:
        if channel is self.channel:
            self.channel = None
            self._on_lost()

    def hang_up(self) -> None:
        """Ends the present connection; nobody is told."""
        channel, self.channel = self.channel, None
        if channel is not None:
            channel.close()

    def close(self) -> None:
        """Listens no more."""
        self.hang_up()
        if self._server is not None:
            self._server.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
