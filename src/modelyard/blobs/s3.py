"""Blobs as objects in a bucket of S3, or of one of the many servers that speak its protocol.

Only what S3 itself promises is used: a put is seen whole or not at all, and by everybody once it has returned; no
conditional puts, no renaming, no locks. An object is sent when all of its bytes are on this machine and measured: in
memory while they are few, else in a file. A caller that goes away halfway has cost nothing in the bucket, then, and a
large one goes in parts, beside each other, each signed with its own digest.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import obstore

from modelyard import errors, ids
from modelyard.blobs.base import Listed, Stat, check_key
from modelyard.blobs.bucket import Bucket, BucketError, answering, open_store, silent
from modelyard.blobs.copies import Copies
from modelyard.blobs.local import GATHER, PIECE, Hashed, Sums, free_fraction, out_of_space, pieces_of

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ObjectStore

# Who the blobs belong to; no key begins with a dot.
OWNER = ".yard"
# Up to this an object waits in memory to be sent, and is sent as one.
IN_MEMORY = 4 * 1024 * 1024
PART = 16 * 1024 * 1024
_PARTS_AT_ONCE = 4
# S3 takes ten thousand parts.
_MOST_PARTS = 9_000
_ASKED_AT_ONCE = 16
_OPENING_SECONDS = 30.0
# What the library says of servers that know no parts of objects, or do not say so as S3 does: rclone's is one.
_ALL_OF_IT = "Received non-partial response"


class S3Blobs:
    """`folder`: where on this machine files wait to be sent, and copies lie that workers read."""

    def __init__(self, bucket: Bucket, folder: Path) -> None:
        self.bucket = bucket
        self._objects = open_store(bucket)
        self._waiting = folder / "outgoing"
        self._waiting.mkdir(parents=True, exist_ok=True)
        self._copies = Copies(folder / "copies", self._waiting, self.open)
        self._asking = asyncio.Semaphore(_ASKED_AT_ONCE)
        self._holders = 0
        # Deleted for everybody but whoever holds: objects are not there to be renamed, so they stay until nobody does.
        self._gone: set[str] = set()
        self._settling = asyncio.Lock()

    async def claim(self, owner: str) -> None:
        """See that the bucket is there, can be written to, and belongs to no other yard: housekeeping would delete
        what the other one keeps. Raises BucketError, Conflict."""
        try:
            async with asyncio.timeout(_OPENING_SECONDS):
                with answering(self.bucket):
                    await _below(self._objects, "oci")
                    found = await self._whole(OWNER)
                    if found is None:
                        await obstore.put_async(self._objects, OWNER, owner.encode())
                        found = await self._whole(OWNER)
        except TimeoutError:
            raise silent(self.bucket, "nobody answered") from None
        if found != owner.encode():
            raise errors.Conflict(
                f"the bucket {self.bucket.address} belongs to another yard, which would lose what it keeps there.",
                hint="blobs: give each yard a prefix of its own, such as s3://BUCKET/PREFIX",
            )

    async def _whole(self, name: str) -> bytes | None:
        with contextlib.suppress(FileNotFoundError):
            return bytes(await (await obstore.get_async(self._objects, name)).bytes_async())
        return None

    # -- putting

    async def put(self, key: str, content: AsyncIterator[bytes] | bytes | Path, *, move: bool = False) -> Stat:
        check_key(key)
        waiting = self._waiting / ids.new_id()
        try:
            with out_of_space():
                sums, body = await _gather(content, waiting, move)
            await self._send(key, body)
            if isinstance(content, Path) and move:
                await asyncio.to_thread(content.unlink, missing_ok=True)
            return sums.stat(key)
        finally:
            waiting.unlink(missing_ok=True)

    async def _send(self, key: str, body: bytes | Path) -> None:
        size = len(body) if isinstance(body, bytes) else (await asyncio.to_thread(body.stat)).st_size
        part = max(PART, -(-size // _MOST_PARTS))

        async def send() -> None:
            with answering(self.bucket):
                await obstore.put_async(
                    self._objects, key, body, use_multipart=size > PART, chunk_size=part, max_concurrency=_PARTS_AT_ONCE
                )

        if key in self._gone:
            # Whoever deletes what was held must not take this one.
            async with self._settling:
                await send()
                self._gone.discard(key)
        else:
            await send()
        self._copies.forget(key)

    # -- reading

    async def open(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        check_key(key)
        if key in self._gone:
            raise _no_blob(key)
        return await self._open(key, start, end)

    async def _open(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        if end is not None and end <= start:
            return _nothing() if await self._size(key) is not None else _raise(_no_blob(key))
        options: GetOptions = {}
        if start or end is not None:
            options["range"] = {"offset": start} if end is None else (start, end)
        try:
            with answering(self.bucket):
                found = await obstore.get_async(self._objects, key, options=options)
        except FileNotFoundError:
            raise _no_blob(key) from None
        except BucketError as error:
            if _ALL_OF_IT in str(error.__cause__):
                with answering(self.bucket):
                    found = await obstore.get_async(self._objects, key)
                return _cut(_pieces(self.bucket, found), start, end)
            # A server refuses a part that begins behind the end.
            size = await self._size(key) if options else None
            if size is None or start < size:
                raise
            return _nothing()
        return _pieces(self.bucket, found)

    async def stat(self, key: str) -> Stat | None:
        check_key(key)
        return None if key in self._gone else _stat_of(key, await self._size(key))

    async def _size(self, key: str) -> int | None:
        with contextlib.suppress(FileNotFoundError), answering(self.bucket):
            return (await obstore.head_async(self._objects, key))["size"]
        return None

    async def list(self, *prefixes: str) -> builtins.list[Listed]:
        for prefix in prefixes:
            check_key(prefix)
        found = await asyncio.gather(*map(self._list, prefixes))
        return [listed for some in found for listed in some if listed.key not in self._gone]

    async def _list(self, prefix: str) -> builtins.list[Listed]:
        async with self._asking:
            with answering(self.bucket):
                below = await _below(self._objects, prefix)
                if below:
                    return below
                with contextlib.suppress(FileNotFoundError):
                    return [_listed(await obstore.head_async(self._objects, prefix))]
        return []

    # -- deleting

    async def delete(self, key: str) -> None:
        check_key(key)
        await self._delete([key])

    async def delete_below(self, prefix: str) -> None:
        # S3 deletes a thousand at a time; in between, those that are to follow are gone for whoever asks here.
        await self._delete([listed.key for listed in await self.list(prefix)])

    async def _delete(self, keys: builtins.list[str]) -> None:
        for key in keys:
            self._copies.forget(key)
        self._gone.update(keys)
        if not self._holders:
            await self._settle(keys)

    async def _settle(self, keys: Collection[str]) -> None:
        async with self._settling:
            keys = [key for key in keys if key in self._gone]
            try:
                if keys:
                    with contextlib.suppress(FileNotFoundError), answering(self.bucket):
                        await obstore.delete_async(self._objects, keys)
            finally:
                self._gone.difference_update(keys)

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncIterator[_S3Held]:
        """What is deleted meanwhile waits. A process that is killed before the end leaves it in the bucket, where no
        row speaks of it; housekeeping clears such things away."""
        self._holders += 1
        try:
            yield _S3Held(self)
        finally:
            self._holders -= 1
            if not self._holders:
                await self._settle(list(self._gone))

    # -- on this machine

    def path(self, key: str) -> Path | None:
        check_key(key)
        return None

    async def place(self, key: str) -> Path | None:
        return None if await self.stat(key) is None else self._copies.place(key)

    async def bring(self, path: Path) -> None:
        await self._copies.bring(path)

    def free_fraction(self) -> float:
        """Of the disk where files wait to be sent: a bucket has no end."""
        return free_fraction(self._waiting)

    def discard_unfinished(self) -> None:
        """Remove what waited to be sent. Parts of an object that a killed process did not finish are the bucket's to
        forget: nobody sees them."""
        for path in self._waiting.iterdir():
            path.unlink(missing_ok=True)


class _S3Held:
    """Looks at the bucket itself, also at what waits to be deleted."""

    def __init__(self, blobs: S3Blobs) -> None:
        self._blobs = blobs

    async def stat(self, key: str) -> Stat | None:
        check_key(key)
        return _stat_of(key, await self._blobs._size(key))

    async def open(self, key: str) -> AsyncIterator[bytes]:
        check_key(key)
        return await self._blobs._open(key)


def _stat_of(key: str, size: int | None) -> Stat | None:
    return None if size is None else Stat(key=key, size=size)


async def _below(objects: ObjectStore, prefix: str) -> list[Listed]:
    found: list[Listed] = []
    async for some in obstore.list(objects, prefix, chunk_size=1000):
        found += [_listed(each) for each in some]
    return sorted(found, key=lambda listed: listed.key)


def _listed(found: obstore.ObjectMeta) -> Listed:
    return Listed(key=found["path"], size=found["size"], modified=int(found["last_modified"].timestamp() * 1_000_000))


async def _pieces(bucket: Bucket, found: obstore.GetResult) -> AsyncIterator[bytes]:
    with answering(bucket):
        async for piece in found.stream(min_chunk_size=PIECE):
            yield bytes(piece)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


async def _cut(pieces: AsyncIterator[bytes], start: int, end: int | None) -> AsyncIterator[bytes]:
    """A part of what comes whole."""
    at = 0
    async for piece in pieces:
        part = piece[max(0, start - at) : None if end is None else max(0, end - at)]
        at += len(piece)
        if part:
            yield part
        if end is not None and at >= end:
            return


def _raise(error: Exception) -> NoReturn:
    raise error


def _no_blob(key: str) -> errors.NotFound:
    return errors.NotFound(f"there is no blob {key}")


async def _gather(content: AsyncIterator[bytes] | bytes | Path, waiting: Path, move: bool) -> tuple[Sums, bytes | Path]:
    if isinstance(content, bytes):
        sums = Sums()
        sums.note(content)
        return sums, content
    if isinstance(content, Path):
        return await asyncio.to_thread(_measured, content, waiting, move)
    return await _received(content, waiting)


def _measured(source: Path, waiting: Path, move: bool) -> tuple[Sums, bytes | Path]:
    """The sums of a file, and what to send: itself where nobody may write to it any more, else a copy."""
    sums = Sums()
    if move:
        for piece in pieces_of(source):
            sums.note(piece)
        return sums, source
    if source.stat().st_size <= IN_MEMORY:
        content = source.read_bytes()
        sums.note(content)
        return sums, content
    with waiting.open("wb", buffering=0) as file:
        hashed = Hashed(file)
        for piece in pieces_of(source):
            hashed.write(piece)
    return hashed, waiting


async def _received(content: AsyncIterator[bytes], waiting: Path) -> tuple[Sums, bytes | Path]:
    gathered: list[bytes] = []
    length = 0
    hashed: Hashed | None = None
    with contextlib.ExitStack() as closing:
        async for piece in content:
            gathered.append(piece)
            length += len(piece)
            if length > (IN_MEMORY if hashed is None else GATHER):
                hashed = hashed or Hashed(closing.enter_context(waiting.open("wb", buffering=0)))
                await asyncio.to_thread(hashed.write, b"".join(gathered))
                gathered.clear()
                length = 0
        rest = b"".join(gathered)
        if hashed is not None:
            await asyncio.to_thread(hashed.write, rest)
            return hashed, waiting
    sums = Sums()
    sums.note(rest)
    return sums, rest
