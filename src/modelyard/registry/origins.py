"""Layers that a repository knows and that are not here yet: each is in another registry, and comes when it is wanted.

A repository has the bytes of such a layer only once they came from where it said: that bytes of this digest lie here
for somebody else gives nobody a right to them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from modelyard.db.base import Database, Statement, Tx
from modelyard.errors import ModelyardError, Unavailable
from modelyard.registry.asking import Asking
from modelyard.registry.upstreams import Upstreams, host_of

log = logging.getLogger(__name__)

# A host has so long for its whole answer, however slowly that comes; and so many are asked at once.
_MOST_SECONDS = 15.0
_AT_ONE = 4
_IN_ALL = 64

_FIND = Statement(
    "blob_origin", "SELECT origin, size FROM blob_origins WHERE repository = :repository AND digest = :digest"
)
_ADD = Statement(
    "add_blob_origin",
    "INSERT INTO blob_origins (repository, digest, origin, size, created_at)"
    " VALUES (:repository, :digest, :origin, :size, :at)"
    " ON CONFLICT (repository, digest) DO UPDATE SET origin = excluded.origin, size = excluded.size,"
    " created_at = excluded.created_at, fetched_at = NULL",
    by_key=True,
)
_CAME = Statement(
    "blob_came_from",
    "SELECT size FROM blob_origins WHERE digest = :digest AND origin = :origin AND fetched_at IS NOT NULL LIMIT 1",
)
_HAVE = Statement(
    "have_what_came",
    "INSERT INTO repository_blobs (repository, digest, size, created_at)"
    " SELECT repository, digest, CAST(:size AS BIGINT), CAST(:at AS BIGINT) FROM blob_origins"
    " WHERE digest = :digest AND origin = :origin"
    " ON CONFLICT (repository, digest) DO UPDATE SET size = excluded.size",
)
_NOTE = Statement(
    "note_what_came", "UPDATE blob_origins SET fetched_at = :at WHERE digest = :digest AND origin = :origin"
)


class Origin(NamedTuple):
    """Where a layer is: `HOST/path` of a repository there."""

    name: str
    size: int


class Origins:
    """The rows, and the asking whether a layer is where somebody says. `clock`: microseconds since 1970;
    `most_seconds`: how long one is asked at most."""

    def __init__(
        self,
        db: Database,
        clock: Callable[[], int],
        upstreams: Upstreams | None,
        *,
        most_seconds: float = _MOST_SECONDS,
    ) -> None:
        self._most_seconds = most_seconds
        self._db = db
        self._clock = clock
        self._upstreams = upstreams
        self._asking = Asking(at_one=_AT_ONE, in_all=_IN_ALL)

    async def find(self, repository: str, digest: str) -> Origin | None:
        """Where a layer of this repository comes from; None where nobody said."""
        row = await self._db.one(_FIND, repository=repository, digest=digest)
        return None if row is None else Origin(row["origin"], int(row["size"]))

    async def take_over(self, digest: str, name: str, repository: str) -> bool:
        """Let the repository know a layer that is in another registry; False where it is not, or is not to be had."""
        origin = None if self._upstreams is None else self._upstreams.parse(name)
        if self._upstreams is None or origin is None:
            return False
        row = await self._db.one(_CAME, digest=digest, origin=origin)
        size = None if row is None else int(row["size"])
        if size is None:
            try:
                size = await self._size(self._upstreams, digest, origin)
            except (ModelyardError, ValueError) as error:  # a name may look like a host's, and be none
                log.info("a layer is not taken over from %s: %s", origin, error)
        if size is None:
            return False
        found = Origin(origin, size)
        await self.add(repository, digest, found)
        if row is not None:
            await self.came(digest, found)
        return True

    async def _size(self, upstreams: Upstreams, digest: str, origin: str) -> int | None:
        client = upstreams.client(origin, to_look=True)
        work = partial(upstreams.size, origin, digest, client)
        try:
            async with asyncio.timeout(self._most_seconds):
                return await self._asking.call(host_of(origin), client, work)
        except TimeoutError:
            upstreams.is_silent(origin)
            raise Unavailable(f"it did not answer within {self._most_seconds:g} seconds") from None

    async def add(self, repository: str, digest: str, origin: Origin) -> None:
        """Let the repository know where this layer is."""
        params = {"repository": repository, "digest": digest, "origin": origin.name, "size": origin.size}
        await self._db.run(_ADD, {**params, "at": self._clock()})

    async def came(self, digest: str, origin: Origin) -> None:
        """The layer came from there, and is what its digest says: every repository that said so has it."""
        at = self._clock()

        def work(tx: Tx) -> None:
            params = {"digest": digest, "origin": origin.name, "at": at}
            tx.run(_HAVE, {**params, "size": origin.size})
            tx.run(_NOTE, params)

        await self._db.transaction(work)
