"""What a container writes to its stdout and stderr, appended to the log of its instance."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import aiodocker
import aiohttp

log = logging.getLogger(__name__)

NAME = "instance.log"
# The log is shortened by the yard when it writes there; what a container says while the yard says nothing is held here.
MOST_BYTES, KEPT_BYTES = 8 * 1024 * 1024, 2 * 1024 * 1024


class Recorder:
    """Writes one instance's log beside what the yard writes there."""

    def __init__(self, folder: Path, instance: str) -> None:
        self._path = self.path(folder, instance)

    @staticmethod
    def path(folder: Path, instance: str) -> Path:
        """Where an instance's log is."""
        return folder / instance / NAME

    async def record(self, container: Any, since: int, *, follow: bool) -> None:
        """Append what was said after `since` (seconds since 1970); with `follow` until the container ends."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            log.error("an instance's log cannot be written: %s", error)
            return
        try:
            if follow:
                async for text in container.log(stdout=True, stderr=True, follow=True, since=since):
                    _write(file, text)
            else:
                for text in await container.log(stdout=True, stderr=True, since=since):
                    _write(file, text)
        except (aiodocker.DockerError, aiohttp.ClientError, OSError, UnicodeError) as error:
            log.warning("the log of a container cannot be read on: %s", error)
        finally:
            os.close(file)


def _write(file: int, text: str) -> None:
    os.write(file, text.encode("utf-8", "replace"))
    size = os.fstat(file).st_size
    if size > MOST_BYTES:
        kept = os.pread(file, KEPT_BYTES, size - KEPT_BYTES)
        os.ftruncate(file, 0)
        os.write(file, kept)
