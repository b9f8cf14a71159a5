"""The way to the Docker Engine: one client for all that is asked of it, and what its refusals mean."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import aiodocker
import aiohttp

from modelyard.engines.base import EngineError

_UNIX = "unix://"
_AWAY = 900  # what the client gives for a status where nothing could be asked
_DEFAULT = "unix:///var/run/docker.sock"


def address(environ: Mapping[str, str], platform: str = sys.platform) -> str:
    """Where the Docker Engine is: what DOCKER_HOST says, else the socket of this system or of this user."""
    if named := environ.get("DOCKER_HOST"):
        return named
    own = Path(environ.get("HOME", "/")) / ".docker" / "run" / "docker.sock"
    if platform == "darwin" and own.exists():
        return f"{_UNIX}{own}"
    return _DEFAULT


class Connection:
    """A client that is made when it is first needed, in the loop that needs it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client: aiodocker.Docker | None = None
        self._connector: aiohttp.BaseConnector | None = None

    @property
    def client(self) -> aiodocker.Docker:
        """The client."""
        if self._client is None:
            # Two requests an instance are open all its life: a number of connections that ends would end the yard.
            if self.url.startswith(_UNIX):
                self._connector = aiohttp.UnixConnector(self.url.removeprefix(_UNIX), limit=0)
            try:
                self._client = aiodocker.Docker(url=self.url, connector=self._connector)
            except ValueError as error:
                raise EngineError(f"DOCKER_HOST is {self.url!r}: {error}") from error
            if self._connector is not None:
                # A client that is given its connector takes the socket's path for a name in its addresses.
                self._client.docker_host = f"{_UNIX}localhost"
        return self._client

    async def close(self) -> None:
        """Hang up. A later use connects anew."""
        client, self._client = self._client, None
        connector, self._connector = self._connector, None
        if client is not None:
            await client.close()
        if connector is not None:
            await connector.close()

    @contextlib.contextmanager
    def asking(self, what: str) -> Iterator[None]:
        """Around requests: whatever goes wrong is an EngineError that says what was wanted."""
        try:
            yield
        except aiodocker.DockerError as error:
            if error.status == _AWAY:
                raise EngineError(
                    f"the Docker Engine does not answer at {self.url}. Start it, or set DOCKER_HOST."
                ) from error
            raise EngineError(f"the Docker Engine did not {what}: {error.message}") from error
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            raise EngineError(
                f"the Docker Engine does not answer at {self.url}: {error}. Start it, or set DOCKER_HOST."
            ) from error
