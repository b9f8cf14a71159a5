"""Where workers dial in: a Unix socket of this host, or a port where sockets do not reach the workers. A worker says
its token first; frames then go to its instance."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from modelyard import errors, ids
from modelyard.scheduler.instance import Instance
from modelyard_runner import frames, protocol
from modelyard_runner.channel import Channel

log = logging.getLogger(__name__)

# Unix socket paths have 104 bytes on macOS and 108 on Linux.
MAX_SOCKET_PATH = 100


def socket_path(folder: Path) -> Path:
    """The socket of a data folder: inside it, or, where that path is too long, a short one that it alone has."""
    path = folder / "link.sock"
    if len(str(path)) <= MAX_SOCKET_PATH:
        return path
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"modelyard-{name}.sock"


def socket_in_folder(folder: Path) -> Path:
    """A socket in a folder of its own, for those who are shown that folder and nothing else of a data folder: a socket
    that is shown alone is lost when the yard makes it anew."""
    path = folder / "link" / "link.sock"
    if len(str(path)) > MAX_SOCKET_PATH:
        name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
        path = Path(tempfile.gettempdir()) / f"modelyard-{name}" / "link.sock"
    return path


class Link:
    """Accepts connections. `address`: what workers dial in place of the socket at `path`, as `tcp:HOST:PORT`;
    `find(token_hash)` gives the instance that a token belongs to."""

    def __init__(
        self,
        path: Path,
        *,
        address: str | None = None,
        find: Callable[[str], Instance | None],
        on_hello: Callable[[Instance, frames.Hello], None],
        on_frames: Callable[[Instance, list[frames.Frame]], None],
        on_lost: Callable[[Instance], None],
    ) -> None:
        self.path = path
        self.address = address or f"unix:{path}"
        self._find = find
        self._on_hello = on_hello
        self._on_frames = on_frames
        self._on_lost = on_lost
        self._server: asyncio.Server | None = None
        self._instances: dict[Channel, Instance] = {}

    async def open(self) -> None:
        """Listen. Raises OSError, Unavailable."""
        loop = asyncio.get_running_loop()
        if self.address.startswith("tcp:"):
            host, _, port = self.address.removeprefix("tcp:").rpartition(":")
            await self._open_port(_own_address(host), int(port))
            return
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self._server = await loop.create_unix_server(lambda: Channel(self._received, self._closed), str(self.path))
        self.path.chmod(0o600)

    async def _open_port(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: Channel(self._received, self._closed), host, port)
        except OSError as error:
            raise errors.Unavailable(
                f"Workers cannot dial {self.address}: nobody can listen at {host}, port {port}: {error.strerror}."
            ) from error

    async def close(self) -> None:
        """Stop listening and hang up; workers dial again when somebody listens here again."""
        if self._server is not None:
            self._server.close()
        for channel in list(self._instances):
            channel.close()
        self._instances.clear()

    def _received(self, channel: Channel, received: list[frames.Frame]) -> None:
        instance = self._instances.get(channel)
        if instance is None:
            instance = self._greet(channel, received.pop(0))
            if instance is None or not received:
                return
        self._on_frames(instance, received)

    def _greet(self, channel: Channel, hello: frames.Frame) -> Instance | None:
        instance = None
        if isinstance(hello, frames.Hello) and hello.protocol in protocol.ACCEPTED_VERSIONS:
            instance = self._find(ids.token_hash(hello.token))
        if instance is None:
            log.warning("a worker with an unknown token or protocol was turned away")
            channel.send({"kind": "shutdown", "grace": 0})
            channel.close()
            return None
        former = instance.channel
        instance.channel = channel
        self._instances[channel] = instance
        if former is not None:
            self._instances.pop(former, None)
            former.close()
        assert isinstance(hello, frames.Hello)  # noqa: S101 - told to the type checker
        self._on_hello(instance, hello)
        return instance

    def _closed(self, channel: Channel, error: Exception | None) -> None:
        instance = self._instances.pop(channel, None)
        if instance is not None and instance.channel is channel:
            instance.channel = None
            self._on_lost(instance)


def _own_address(host: str, platform: str = sys.platform) -> str:
    """Where to listen for those who dial `host`: there if that is an address. A name means this machine as containers
    see it: on macOS what reaches its own loopback, else an address of its own that only the Docker Engine knows."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "127.0.0.1" if platform == "darwin" else "0.0.0.0"  # noqa: S104 - a worker's token is asked for
    return host
