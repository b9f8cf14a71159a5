"""Layers on their way from another registry: one fetch for all who want it, read while it comes, kept when it is right.

The last byte is given to nobody before the digest of the whole was found to be right, and a layer that is not whole is
in no repository: whoever was reading is cut off, and asks again.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from modelyard import errors, ids
from modelyard.blobs.base import MIN_FREE_SHARE, Blobs
from modelyard.oci import manifest as oci
from modelyard.oci.manifest import WrongDigestError
from modelyard.registry import problems
from modelyard.registry.asking import Asking
from modelyard.registry.origins import Origin, Origins
from modelyard.registry.upstreams import Upstreams, host_of
from modelyard.uses import Uses

log = logging.getLogger(__name__)

_PIECE = 1024 * 1024
# So many are on their way at once; and who sends fewer bytes in so long is cut off.
_AT_ONE = 8
_IN_ALL = 64
_SLOW_BYTES = 64 * 1024
_SLOW_SECONDS = 90.0


class _Stopped(Exception):
    """The fetch is given up."""


class _Coming:
    """The bytes of one fetch as they come, in its thread. `room` raises where the disk may take no more."""

    def __init__(self, size: int, room: Callable[[], None]) -> None:
        self.stopped = False
        self._size = size
        self._room = room
        self._came = 0
        self._unseen = 0

    def more(self, count: int) -> None:
        """So many more came. Raises what ends the fetch."""
        if self.stopped:
            raise _Stopped
        self._came += count
        if self._came > self._size:
            raise WrongDigestError(f"it has more than the {self._size} bytes that were announced")
        self._unseen += max(0, count)
        if self._unseen >= _PIECE:
            self._unseen = 0
            self._room()


class Fetch:
    """One layer on its way. `have`: how many of its bytes are in the file at `path`; `before`: how many of them an
    earlier fetch left there."""

    def __init__(self, path: Path, size: int, before: int = 0) -> None:
        self.path = path
        self.size = size
        self.have = 0
        self._before = before
        self.ended = False
        self.error: Exception | None = None
        self._changed = asyncio.Event()

    def came(self, count: int) -> None:
        """So many bytes more; a negative number where it begins anew."""
        self.have += count
        if count < 0:
            self._before = 0
        self.wake()

    def wake(self) -> None:
        """Tell whoever waits."""
        before, self._changed = self._changed, asyncio.Event()
        before.set()

    async def reach(self, position: int) -> int:
        """Wait until there is more than this; gives up to where it may be read. Raises what ended the fetch.

        What an earlier fetch left is read when more has come: a registry that refuses the rest is told as that, and not
        by an answer that is cut off where that fetch was.
        """
        while True:
            if self.error is not None:
                raise self.error
            if self.ended:
                return self.size
            readable = min(self.have, self.size - 1)
            if readable > position and self.have > self._before:
                return readable
            await self._changed.wait()


class Fetches:
    """`folder`: where a layer lies while it comes. Who sends next to nothing in `slow_seconds` is cut off."""

    def __init__(
        self,
        *,
        upstreams: Upstreams,
        origins: Origins,
        blobs: Blobs,
        uses: Uses,
        folder: Path,
        slow_seconds: float = _SLOW_SECONDS,
    ) -> None:
        self._slow_seconds = slow_seconds
        self._upstreams = upstreams
        self._origins = origins
        self._blobs = blobs
        self._uses = uses
        self._folder = folder
        self._asking = Asking(at_one=_AT_ONE, in_all=_IN_ALL)
        # Two yards may share the folder.
        self._mark = ids.new_id()
        self._running: dict[tuple[str, str], Fetch] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, digest: str, origin: Origin, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`, as they come. Raises OriginError, OutOfSpace before the first one."""
        fetch = self._running.get((origin.name, digest))
        if fetch is None:
            fetch = self._begin(digest, origin)
        if start < end:
            await fetch.reach(start)
        return self._pieces(fetch, digest, start, end)

    async def _pieces(self, fetch: Fetch, digest: str, start: int, end: int) -> AsyncIterator[bytes]:
        while start < end:
            readable = min(await fetch.reach(start), end)
            if fetch.ended:
                async for piece in await self._blobs.open(oci.blob_key(digest), start, end):
                    yield piece
                return
            piece = await asyncio.to_thread(_read, fetch.path, start, min(_PIECE, readable - start))
            if not piece:
                # It was moved to its place, or begun anew, a moment ago.
                await asyncio.sleep(0.01)
            start += len(piece)
            yield piece

    def _begin(self, digest: str, origin: Origin) -> Fetch:
        name = hashlib.sha256(f"{self._mark} {origin.name} {digest}".encode()).hexdigest()
        # Housekeeping takes away what nobody goes on with, as it does with uploads.
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{name}.part"
        here = path.stat().st_size if path.exists() else 0
        fetch = Fetch(path, origin.size, here)
        # What comes at the same time has a right to its room too.
        self._room(origin.size - here + sum(each.size - each.have for each in self._running.values()))
        self._running[origin.name, digest] = fetch
        task = asyncio.get_running_loop().create_task(self._bring(fetch, digest, origin))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return fetch

    async def _bring(self, fetch: Fetch, digest: str, origin: Origin) -> None:
        try:
            await self._fetched(fetch, digest, origin)
            await self._keep(fetch, digest, origin)
            fetch.ended = True
        except (errors.ModelyardError, OSError) as error:
            log.warning("the layer %s could not be had from %s: %s", digest, origin.name, error)
            if isinstance(error, WrongDigestError | errors.OutOfSpace):
                # Nothing to go on with; or worth less than the room that it takes.
                fetch.path.unlink(missing_ok=True)
            fetch.error = error if isinstance(error, errors.OutOfSpace) else _told(digest, origin, error)
        finally:
            if not fetch.ended and fetch.error is None:
                fetch.error = _told(digest, origin, errors.Unavailable("the yard broke it off"))
            del self._running[origin.name, digest]
            fetch.wake()

    async def _fetched(self, fetch: Fetch, digest: str, origin: Origin) -> None:
        loop, coming = asyncio.get_running_loop(), _Coming(origin.size, self._room)
        began, client = asyncio.Event(), self._upstreams.client(origin.name, to_look=False)

        def progress(count: int) -> None:
            coming.more(count)
            if count:
                loop.call_soon_threadsafe(fetch.came, count)

        def work() -> None:
            self._upstreams.fetch(origin.name, digest, fetch.path, progress, client)

        call = loop.create_task(self._asking.call(host_of(origin.name), client, work, began.set))
        try:
            await _watched(call, began, fetch, self._slow_seconds)
        finally:
            coming.stopped = True
            call.cancel()

    def _room(self, more: int = 0) -> None:
        """Raises OutOfSpace where so many bytes more, and what else is on its way, would fill the disk."""
        usage = shutil.disk_usage(self._folder)
        if usage.free - more < usage.total * MIN_FREE_SHARE:
            raise errors.OutOfSpace(
                "The yard's disk is nearly full; no layer is fetched until there is room.",
                hint="Make room on the disk that holds the data folder, and try again.",
            )

    async def _keep(self, fetch: Fetch, digest: str, origin: Origin) -> None:
        found = fetch.path.stat().st_size
        if found != origin.size:
            raise WrongDigestError(f"it has {found} bytes, and {origin.size} were announced")
        key = oci.blob_key(digest)
        await self._uses.using(key)
        await self._blobs.put(key, fetch.path, move=True)
        await self._origins.came(digest, origin)


async def _watched(call: asyncio.Task[None], began: asyncio.Event, fetch: Fetch, seconds: float) -> None:
    """Wait for its end. Raises what it raises; Unavailable where next to nothing comes."""
    waits = asyncio.ensure_future(began.wait())
    try:
        await asyncio.wait({call, waits}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waits.cancel()
    before = fetch.have
    while not (await asyncio.wait({call}, timeout=seconds))[0]:
        if fetch.have - before < _SLOW_BYTES:
            raise errors.Unavailable(f"it sent fewer than {_SLOW_BYTES} bytes in {seconds:g} seconds")
        before = fetch.have
    await call


def _told(digest: str, origin: Origin, error: errors.ModelyardError | OSError) -> Exception:
    detail = error.detail if isinstance(error, errors.ModelyardError) else error.strerror or str(error)
    return problems.OriginError(
        f"the layer {digest} is of a base at {origin.name}, and this yard, which has not had it yet, cannot get it"
        f" there: {detail}",
        hint="Try again when that registry answers the yard; or push the version anew, which sends the layer.",
    )


def _read(path: Path, start: int, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(count)
    except FileNotFoundError:
        return b""
