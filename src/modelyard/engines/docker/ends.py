"""The end of a container, waited for however often the engine itself goes away meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import aiodocker
import aiohttp

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


async def state(container: Any, url: str) -> Mapping[str, Any] | None:
    """Wait for its end; what the engine at `url` says of its state then, None where somebody else removed it."""
    while True:
        try:
            await container.wait()
            shown = (await container.show())["State"]
            if not shown["Running"]:
                return shown  # type: ignore[no-any-return]
        except aiodocker.DockerError as error:
            if error.status == 404:
                return None
            log.error("a container cannot be watched: %s", error.message)
        except (aiohttp.ClientError, OSError) as error:
            log.error("the Docker Engine does not answer at %s: %s", url, error)
        await asyncio.sleep(RETRY_SECONDS)
