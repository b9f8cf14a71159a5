"""Copies on this machine of blobs that lie on another one: what workers are given to read."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from modelyard import ids
from modelyard.blobs.base import check_key
from modelyard.blobs.local import out_of_space

# Copies that nobody wanted for this long go; looked for as seldom as the second says.
KEPT_SECONDS = 3600.0
TIDIED_EVERY_SECONDS = 600.0


class Copies:
    """A file for each key, below `folder`; `incoming` is on the same disk. `open` gives a blob's bytes."""

    def __init__(self, folder: Path, incoming: Path, open: Callable[[str], Awaitable[AsyncIterator[bytes]]]) -> None:
        self._folder = folder
        self._incoming = incoming
        self._open = open
        self._bringing: dict[Path, asyncio.Lock] = {}
        self._tidied = 0.0

    def place(self, key: str) -> Path:
        """Where the copy is, or will be."""
        return self._folder.joinpath(*check_key(key))

    async def bring(self, path: Path) -> None:
        """Have the copy there, whole. Raises what `open` raises, and OutOfSpace."""
        try:
            async with self._bringing.setdefault(path, asyncio.Lock()):
                now = await asyncio.to_thread(_touch, path)
                if now is None:
                    await self._fetch(path.relative_to(self._folder).as_posix(), path)
                    now = await asyncio.to_thread(_touch, path)
        finally:
            self._bringing.pop(path, None)
        if now is not None and now - self._tidied > TIDIED_EVERY_SECONDS:
            self._tidied = now
            await asyncio.to_thread(_tidy, self._folder, now - KEPT_SECONDS)

    async def _fetch(self, key: str, path: Path) -> None:
        partial = self._incoming / ids.new_id()
        pieces = await self._open(key)
        try:
            with out_of_space(), partial.open("wb") as file:
                async for piece in pieces:
                    await asyncio.to_thread(file.write, piece)
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def forget(self, key: str) -> None:
        """The blob is another one now, or gone."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self.place(key).unlink()


def _touch(path: Path) -> float | None:
    """Note that a copy was used now; gives what time that is. None when there is none."""
    try:
        os.utime(path)
        return path.stat().st_mtime
    except FileNotFoundError:
        return None


def _tidy(folder: Path, before: float) -> None:
    for place, _, names in os.walk(folder, topdown=False):
        for path in (Path(place, name) for name in names):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()
        if Path(place) != folder:
            with contextlib.suppress(OSError):
                # Only where it is empty.
                Path(place).rmdir()
