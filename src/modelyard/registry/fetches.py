"""Layers on their way from another registry: one fetch for all who want it, read while it comes, kept when it is right.

The last byte is given to nobody before the digest of the whole was found to be right, and a layer that is not whole is
in no repository: whoever was reading is cut off, and asks again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from modelyard import errors, ids
from modelyard.blobs.base import Blobs
from modelyard.oci import manifest as oci
from modelyard.oci.manifest import WrongDigestError
from modelyard.registry import problems
from modelyard.registry.origins import Origin, Origins
from modelyard.registry.upstreams import Upstreams
from modelyard.uses import Uses

log = logging.getLogger(__name__)

_PIECE = 1024 * 1024


class _Stopped(Exception):
    """The yard ends, and with it the fetch."""


class Fetch:
    """One layer on its way. `have`: how many of its bytes are in the file at `path`."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self.have = 0
        self.ended = False
        self.error: Exception | None = None
        self._changed = asyncio.Event()

    def came(self, count: int) -> None:
        """So many bytes more; a negative number where it begins anew."""
        self.have += count
        self.wake()

    def wake(self) -> None:
        """Tell whoever waits."""
        before, self._changed = self._changed, asyncio.Event()
        before.set()

    async def reach(self, position: int) -> int:
        """Wait until there is more than this; gives up to where it may be read. Raises what ended the fetch."""
        while True:
            if self.error is not None:
                raise self.error
            if self.ended:
                return self.size
            readable = min(self.have, self.size - 1)
            if readable > position:
                return readable
            await self._changed.wait()


class Fetches:
    """`folder`: where a layer lies while it comes; `has_room`: may the disk take more?"""

    def __init__(
        self,
        *,
        upstreams: Upstreams,
        origins: Origins,
        blobs: Blobs,
        uses: Uses,
        folder: Path,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        self._upstreams = upstreams
        self._origins = origins
        self._blobs = blobs
        self._uses = uses
        self._folder = folder
        self._has_room = has_room
        # Two yards may share the folder.
        self._mark = ids.new_id()
        self._running: dict[tuple[str, str], Fetch] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, digest: str, origin: Origin, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`, as they come. Raises OriginError, OutOfSpace before the first one."""
        fetch = self._running.get((origin.name, digest))
        if fetch is None:
            if not self._has_room():
                raise errors.OutOfSpace("The yard's disk is nearly full; no layer is fetched until there is room.")
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
        fetch = self._running[origin.name, digest] = Fetch(self._folder / f"{name}.part", origin.size)
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
            if isinstance(error, WrongDigestError):  # nothing to go on with
                fetch.path.unlink(missing_ok=True)
            fetch.error = _told(digest, origin, error)
        finally:
            if not fetch.ended and fetch.error is None:
                fetch.error = _told(digest, origin, errors.Unavailable("the yard broke it off"))
            del self._running[origin.name, digest]
            fetch.wake()

    async def _fetched(self, fetch: Fetch, digest: str, origin: Origin) -> None:
        """In a thread that ends with the process, whatever the other side does."""
        loop, stopped = asyncio.get_running_loop(), threading.Event()
        done: asyncio.Future[None] = loop.create_future()
        came = 0

        def end(error: BaseException | None) -> None:
            if not done.done():
                done.set_result(None) if error is None else done.set_exception(error)

        def progress(count: int) -> None:
            nonlocal came
            if stopped.is_set():
                raise _Stopped
            came += count
            if came > origin.size:
                raise WrongDigestError(f"it has more than the {origin.size} bytes that were announced")
            if count:
                loop.call_soon_threadsafe(fetch.came, count)

        def run() -> None:
            error: BaseException | None = None
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._upstreams.fetch(origin.name, digest, fetch.path, progress)
            except BaseException as caught:
                error = caught
            with contextlib.suppress(RuntimeError):  # nobody waits any more: the loop is closed
                loop.call_soon_threadsafe(end, error)

        threading.Thread(target=run, name="fetch", daemon=True).start()
        try:
            await done
        finally:
            stopped.set()

    async def _keep(self, fetch: Fetch, digest: str, origin: Origin) -> None:
        found = fetch.path.stat().st_size
        if found != origin.size:
            raise WrongDigestError(f"it has {found} bytes, and {origin.size} were announced")
        key = oci.blob_key(digest)
        await self._uses.using(key)
        await self._blobs.put(key, fetch.path, move=True)
        await self._origins.came(digest, origin)


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
