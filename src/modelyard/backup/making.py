"""Makes a backup of a yard, whether it runs or not, as bytes in their order.

What is deleted is held back first; then the rows of one moment are read; then all that they refer to. A blob and a
journal are whole before a row speaks of them, so that whatever those rows name is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from modelyard import durable
from modelyard.backup import archive
from modelyard.backup.archive import Contents, Header, Writer
from modelyard.backup.references import References
from modelyard.blobs.base import Blobs, Held
from modelyard.db import copies, migrations
from modelyard.db.copies import Snapshot

# What belongs to one process, one browser or one machine, and means nothing elsewhere.
LEFT_OUT = frozenset({"instances", "nodes", "sessions", "login_links"})
# Rows are gathered into members of about this size.
_CHUNK_BYTES = 1024 * 1024
_NAMED = 100

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is backed up. `version`: this program's; `clock`: microseconds since 1970. Without `blobs`: rows alone."""

    database_url: str
    data: Path
    version: str
    clock: Callable[[], int]
    blobs: Blobs | None = None

    def header(self, revision: str) -> Header:
        """What the backup says of itself."""
        of_sqlite = migrations.sqlite_path(self.database_url) is not None
        return Header(
            yard=self.version,
            revision=revision,
            database="sqlite" if of_sqlite else "postgres",
            made_at=self.clock(),
            holds="rows" if self.blobs is None else "yard",
        )


@dataclass(frozen=True, slots=True)
class _Journal:
    """The journal of a prediction that has ended: nobody writes to it any more."""

    id: str
    path: Path
    size: int

    @property
    def name(self) -> str:
        return f"{archive.JOURNALS}{self.path.parent.name}/{self.path.name}"


async def make(source: Source) -> AsyncIterator[bytes]:
    """The backup, piece by piece. Raises DatabaseError, DatabaseUnavailable, OSError, and DamagedBackup for a disk
    that gives fewer bytes than it said. Whoever does not want all of it closes the iterator."""
    writer = Writer(source.clock() // 1_000_000)
    references = References()
    async with contextlib.AsyncExitStack() as holding:
        held = None if source.blobs is None else await holding.enter_async_context(source.blobs.hold())
        counts: dict[str, int] = {}
        with copies.snapshot(source.database_url) as snapshot:
            yield writer.whole(archive.HEADER, msgspec.json.encode(asdict(source.header(snapshot.revision))))
            # Packed and summed on the thread that reads: the yard has answers to give meanwhile.
            members = (writer.whole(*chunk) for chunk in _rows(snapshot, references, counts))
            while (member := await _in_thread(next, members, None)) is not None:
                yield member
        if held is None:
            yield writer.whole(archive.CONTENTS, _contents(counts))
            yield writer.end([], 0)
            return
        async for piece in _files(source, held, writer, references, counts):
            yield piece


async def _files(
    source: Source, held: Held, writer: Writer, references: References, counts: dict[str, int]
) -> AsyncIterator[bytes]:
    journals = await _in_thread(_journals, source.data / "journals", references.journals)
    blobs, missing = await _sizes(held, references)
    total = sum(each.size for each in journals) + sum(blobs.values())
    yield writer.whole(archive.CONTENTS, _contents(counts, len(journals), len(blobs), total))
    if (key := source.data / archive.KEY).exists():
        yield writer.whole(archive.KEY, await _in_thread(key.read_bytes))
    for journal in journals:
        async for piece in _journal(writer, journal):
            yield piece
    for blob, size in blobs.items():
        yield writer.begin(archive.BLOBS + blob, size)
        async for piece in await held.open(blob):
            yield writer.piece(piece)
        yield writer.finish()
    yield writer.end(missing[:_NAMED], len(missing))


async def _in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """As `asyncio.to_thread`, but over when it is over: nothing is closed under a thread that still reads."""
    working = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        raise


def _contents(rows: dict[str, int], journals: int = 0, blobs: int = 0, size: int = 0) -> bytes:
    return msgspec.json.encode(asdict(Contents(rows=rows, journals=journals, blobs=blobs, bytes=size)))


def _rows(snapshot: Snapshot, references: References, counts: dict[str, int]) -> Iterator[tuple[str, bytes]]:
    """Members of rows; what they refer to is gathered on the way."""
    for table, columns in snapshot.tables.items():
        if table in LEFT_OUT:
            continue
        counts[table] = number = 0
        head = msgspec.json.encode(columns) + b"\n"
        lines, size = [head], 0
        for row in snapshot.rows(table):
            references.add(table, dict(zip(columns, row, strict=True)))
            line = msgspec.json.encode(row) + b"\n"
            lines.append(line)
            size += len(line)
            counts[table] += 1
            if size > _CHUNK_BYTES:
                number += 1
                yield _chunk(table, number, lines)
                lines, size = [head], 0
        if len(lines) > 1:
            yield _chunk(table, number + 1, lines)


def _chunk(table: str, number: int, lines: list[bytes]) -> tuple[str, bytes]:
    return f"{archive.ROWS}{table}/{number:06}.jsonl", b"".join(lines)


def _journals(folder: Path, prediction_ids: list[str]) -> list[_Journal]:
    found = []
    for prediction_id in prediction_ids:
        path = folder / prediction_id[-2:] / f"{prediction_id}.journal"
        # Where there is none, what the row has of it is what is shown.
        if path.is_file():
            found.append(_Journal(prediction_id, path, path.stat().st_size))
    return found


async def _journal(writer: Writer, journal: _Journal) -> AsyncIterator[bytes]:
    try:
        file = await _in_thread(_open, journal.path)
    except FileNotFoundError:
        # It was deleted together with its row, after the moment of the rows.
        return
    with file:
        yield writer.begin(journal.name, journal.size)
        left = journal.size
        while left and (piece := await _in_thread(file.read, min(archive.PIECE, left))):
            left -= len(piece)
            yield writer.piece(piece)
        yield writer.finish()


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


async def _sizes(held: Held, references: References) -> tuple[dict[str, int], list[str]]:
    """The size of each blob that is there, and the keys of those that rows need and that are not."""
    sizes: dict[str, int] = {}
    missing: list[str] = []
    for key, needed in references.blobs():
        stat = await held.stat(key)
        if stat is not None:
            sizes[key] = stat.size
        elif needed:
            missing.append(key)
    return sizes, missing


async def write(source: Source, into: Path) -> None:
    """Make a backup of a yard that does not run, into a file that is there as a whole or not at all.

    Raises as `make` does.
    """
    part = into.with_name(into.name + ".part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            async for piece in make(source):
                await _in_thread(file.write, piece)
            file.flush()
            await _in_thread(os.fsync, file.fileno())
        part.replace(into)
        await _in_thread(durable.sync, into.parent)
    finally:
        part.unlink(missing_ok=True)
