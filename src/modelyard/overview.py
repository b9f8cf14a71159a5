"""The yard as a whole, for who keeps it: is it well, how much of everything is there, how full is its disk.

What costs more than a moment is remembered for as long as keeps its cost at a twentieth of the time.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from modelyard.db.base import Database
from modelyard.models import statements as models
from modelyard.predictions import listing
from modelyard.predictions.record import Status

T = TypeVar("T")

# What was counted in a moment is counted again; what took longer is remembered twenty times as long.
_REMEMBERED_FACTOR = 20.0
_FOLDERS_SECONDS = 1.0
# Whoever asks waits this long for the size of the folders, and gets none when that takes longer.
_PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many there are. `predictions`: by status, every status named."""

    models: int
    versions: int
    predictions: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The disk that holds the data folder, in bytes. `folders`: what the parts of the folder take; None: not known yet.

    A file with several names counts once.
    """

    free: int
    total: int
    folders: dict[str, int] | None


class Overview:
    """Looks at all of it. `started_at`: microseconds since 1970; `monotonic`: seconds.

    `has_room`: is new work taken? `stopping`: is this yard about to end?
    """

    def __init__(
        self,
        db: Database,
        data: Path,
        *,
        version: str,
        started_at: int,
        monotonic: Callable[[], float],
        has_room: Callable[[], bool] = lambda: True,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._db = db
        self.data = data
        self.version = version
        self.started_at = started_at
        self._stopping = stopping
        self._has_room = has_room
        self._by_status = _Remembered(self._count_by_status, monotonic)
        self._folders = _Remembered(self._measure, monotonic, at_least=_FOLDERS_SECONDS)

    @property
    def status(self) -> str:
        """`ready`, `stopping`, or `degraded`: it runs, and refuses some of what it is asked."""
        if self._stopping():
            return "stopping"
        return "ready" if self._has_room() else "degraded"

    def problems(self) -> list[str]:
        """Why it is not simply ready, for people."""
        found = []
        if self._stopping():
            found.append("The yard is stopping: what runs may finish, nothing new is started.")
        if not self._has_room():
            found.append(
                "The disk is nearly full: new predictions, uploads and pushes are refused until there is room."
            )
        return found

    async def counts(self) -> Counts:
        """How many there are, those that have not ended as of now."""
        known, versions = await self._db.one(models.COUNT), await self._db.one(models.COUNT_VERSIONS)
        ended = await self._by_status.get()
        now = {row["status"]: row["number"] for row in await self._db.all(listing.COUNT_OPEN)}
        is_open = (Status.STARTING, Status.PROCESSING)
        return Counts(
            models=known["number"] if known else 0,
            versions=versions["number"] if versions else 0,
            predictions={each.value: (now if each in is_open else ended).get(each.value, 0) for each in Status},
        )

    async def disk(self) -> Disk:
        """How full the disk is, and with what."""
        usage = shutil.disk_usage(self.data)
        measured = asyncio.ensure_future(self._folders.get())
        await asyncio.wait([measured], timeout=_PATIENCE_SECONDS)
        folders = measured.result() if measured.done() else self._folders.last
        return Disk(free=usage.free, total=usage.total, folders=folders)

    async def _count_by_status(self) -> dict[str, int]:
        return {row["status"]: row["number"] for row in await self._db.all(listing.COUNT_BY_STATUS)}

    async def _measure(self) -> dict[str, int]:
        return await asyncio.to_thread(_sizes, self.data)


class _Remembered(Generic[T]):
    """What `work` gave, found again only after `at_least` seconds and twenty times what it took."""

    def __init__(
        self, work: Callable[[], Awaitable[T]], monotonic: Callable[[], float], *, at_least: float = 0.0
    ) -> None:
        self._work = work
        self._monotonic = monotonic
        self._at_least = at_least
        self._until = 0.0
        self._running: asyncio.Future[T] | None = None
        self.last: T | None = None

    async def get(self) -> T:
        """The newest; those who ask meanwhile wait for the same."""
        if self.last is not None and self._monotonic() < self._until:
            return self.last
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._find())
        return await asyncio.shield(self._running)

    async def _find(self) -> T:
        began = self._monotonic()
        self.last = await self._work()
        now = self._monotonic()
        self._until = now + max(self._at_least, _REMEMBERED_FACTOR * (now - began))
        return self.last


def _sizes(data: Path) -> dict[str, int]:
    """What each folder in `data` takes on the disk, and under `database` the files of a database that is in it."""
    found: dict[str, int] = {"database": 0}
    seen: set[tuple[int, int]] = set()
    for entry in os.scandir(data):
        if entry.is_dir(follow_symlinks=False):
            found[entry.name] = sum(_taken(path, seen) for path in _files(entry.path))
        elif entry.name.startswith("yard.db"):
            found["database"] += _taken(entry, seen)
    return found


def _files(folder: str) -> list[os.DirEntry[str]]:
    files: list[os.DirEntry[str]] = []
    waiting = [folder]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            # Taken away meanwhile.
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            else:
                files.append(entry)
    return files


def _taken(entry: os.DirEntry[str], seen: set[tuple[int, int]]) -> int:
    try:
        facts = entry.stat(follow_symlinks=False)
    except OSError:
        return 0
    if facts.st_nlink > 1:
        if (facts.st_dev, facts.st_ino) in seen:
            return 0
        seen.add((facts.st_dev, facts.st_ino))
    return facts.st_blocks * 512
