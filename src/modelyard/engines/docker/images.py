"""Images brought into the Docker Engine: pulled from the yard's own registry with a token for this one pull, and
removed there when no version needs them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import aiodocker
import aiohttp

from modelyard.engines.base import EngineError, KeptImage
from modelyard.engines.docker.connection import Connection

# The registry may open a moment later than the scheduler does.
TRIES, PAUSE_SECONDS = 10, 0.3
_USER = "yard"
_NO_NAME = "<none>:<none>"


class Images:
    """`registry`: what the engine calls this yard (`host:port`); `token(repository)`: what opens it for a pull."""

    def __init__(self, connection: Connection, registry: str, token: Callable[[str], str]) -> None:
        self._connection = connection
        self._registry = registry
        self._token = token
        self._pulls: dict[str, asyncio.Lock] = {}

    async def bring(self, repository: str, digest: str, config: str, report: Callable[[str], None]) -> str:
        """Have the engine have an image, by its manifest's and its configuration's digest; gives its reference there.

        Raises EngineError.
        """
        name = f"{self._registry}/{repository}@{digest}"
        async with self._pulls.setdefault(digest, asyncio.Lock()):
            # An engine calls an image by the digest of its configuration, or, with containerd's store, its manifest.
            for known in (config, name):
                if await self._has(known):
                    return known
            report("Pulling the image into the Docker Engine")
            await self._pull(repository, name)
            return name

    async def kept(self) -> list[KeptImage]:
        """Those that were pulled from this yard by their digest. What somebody gave a name is somebody's own."""
        with self._connection.asking("say what it has"):
            found = await self._connection.client._query_json("system/df", params={"type": "image"})
        return [
            image
            for shown in found.get("Images") or ()
            if not set(shown.get("RepoTags") or ()) - {_NO_NAME}
            for image in _kept(shown, f"{self._registry}/")
        ]

    async def drop(self, image: KeptImage) -> None:
        """Remove it, unless a container of anybody's still needs it."""
        try:
            with self._connection.asking("remove an image"):
                try:
                    await self._connection.client.images.delete(image.reference)
                except aiodocker.DockerError as error:
                    if error.status != 404:
                        raise
        finally:
            self._pulls.pop(f"sha256:{image.version}", None)

    async def _has(self, name: str) -> bool:
        try:
            await self._connection.client.images.inspect(name)
        except aiodocker.DockerError as error:
            if error.status == 404:
                return False
            raise EngineError(f"the Docker Engine did not look for an image: {error.message}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineError(f"the Docker Engine does not answer at {self._connection.url}: {error}") from error
        return True

    async def _pull(self, repository: str, name: str) -> None:
        auth = {"username": _USER, "password": self._token(repository), "serveraddress": self._registry}
        for left in reversed(range(TRIES)):
            try:
                await self._pull_once(name, auth)
            except aiodocker.DockerError as error:
                if left and "connection refused" in error.message:
                    await asyncio.sleep(PAUSE_SECONDS)
                    continue
                raise EngineError(
                    f"the Docker Engine could not pull {name}: {error.message}. It reaches this yard as"
                    f" {self._registry}, which the setting docker_registry says."
                ) from error
            return

    async def _pull_once(self, name: str, auth: Mapping[str, Any]) -> None:
        async for step in self._connection.client.images.pull(name, auth=dict(auth), stream=True):
            if step.get("error"):
                raise aiodocker.DockerError(500, str(step["error"]))


def _kept(shown: Mapping[str, Any], registry: str) -> list[KeptImage]:
    """What one image of the engine is called in this registry, by its digests there."""
    names = [name for name in shown.get("RepoDigests") or () if name.startswith(registry)]
    alone = len(shown.get("RepoDigests") or ()) == 1
    size, shared = int(shown.get("Size") or 0), max(0, int(shown.get("SharedSize") or 0))
    found = []
    for name in names:
        repository, _, version = name.removeprefix(registry).partition("@sha256:")
        unique = size - shared if alone else 0
        found.append(KeptImage(reference=name, repository=repository, version=version, bytes=size, unique=unique))
    return found
