"""Puts a backup back. Everything is made beside what is there, then takes its place at once, or not at all.

The backup is read twice: the first time nothing is written. Files are staged in the data folder itself, so that taking
their place is renaming them; what was there before goes into a folder of its own. Each renaming is written down before
it is done: what a process that was killed left in between is undone by the next one (`recover`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import msgspec

from modelyard import durable, errors
from modelyard.amounts import size_text
from modelyard.backup import archive
from modelyard.backup.archive import Contents, DamagedBackup, End, Header, Member, NewerBackup, Reader
from modelyard.backup.references import is_key
from modelyard.db import copies, migrations
from modelyard.db.base import DatabaseError, Statement
from modelyard.predictions.statements import START_ANEW

STAGED = ".restoring"
PLAN = "restore.json"
# What a whole yard's backup takes the place of; a database of SQLite comes to it.
_PLACES = ("blobs", "journals", archive.KEY)
_OF_SQLITE = ("", "-wal", "-shm", "-journal")
_JOURNAL = re.compile(r"[0-9a-z]{2}/[0-9a-z]{26}\.journal")
_ROWS = re.compile(r"([a-z_]+)/\d{6,}\.jsonl")
_SINGLE = re.compile(rf"{re.escape(archive.KEY)}|{re.escape(archive.CONTENTS)}")
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# Beside the bytes of a backup there are folders, indexes and the database's own pages.
_ROOM_FACTOR = 1.1
# Which restore the rows of a database come from.
_MARK = Statement("mark_restored", "INSERT INTO meta (key, value) VALUES ('restored', :id)")
_UNMARK = Statement("unmark_restored", "DELETE FROM meta WHERE key = 'restored'")
_MARKED = Statement("restored_by", "SELECT value FROM meta WHERE key = 'restored'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A backup that was read to its end and found whole. `bytes`: of the file."""

    path: Path
    header: Header
    contents: Contents
    end: End
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was done. `aside`: where the files from before are; `schema`: where the tables are, on PostgreSQL."""

    revision: str
    aside: Path | None
    schema: str | None


class Occupied(errors.Conflict):
    """There is a yard already where one is to be restored."""

    code = "occupied"
    title = "There is a yard already"


# -- before anything is written


def check(path: Path, arrived: Callable[[int], None] = lambda count: None) -> Checked:
    """Read a backup to its end. `arrived` is told how many bytes came. Raises DamagedBackup, NewerBackup, OSError."""
    with path.open("rb") as file:
        reader = Reader(Counted(file, arrived))
        known = migrations.revisions()
        if reader.header.revision not in known:
            raise NewerBackup(
                f"this backup was made by Modelyard {reader.header.yard}, whose tables are at revision "
                f"{reader.header.revision}; this one knows up to {known[-1]}",
                hint=f"restore it with Modelyard {reader.header.yard} or newer",
            )
        for member in reader.members():
            _check_name(member.name)
    if reader.contents is None or reader.end is None:
        raise DamagedBackup("the backup does not say what it holds")
    return Checked(path=path, header=reader.header, contents=reader.contents, end=reader.end, bytes=path.stat().st_size)


def _check_name(name: str) -> None:
    """Only what we write is taken from a file that anybody may have made."""
    kind, slash, rest = name.partition("/")
    if kind + slash == archive.BLOBS:
        right = is_key(rest)
    else:
        form = {archive.ROWS: _ROWS, archive.JOURNALS: _JOURNAL}.get(kind + slash, _SINGLE)
        right = form.fullmatch(name if form is _SINGLE else rest) is not None
    if not right:
        raise DamagedBackup(f"{name[:100]!r} is nothing that a backup holds", hint="do not restore what others changed")


class Counted:
    """A file that tells how much of it was read."""

    def __init__(self, file: BinaryIO, arrived: Callable[[int], None]) -> None:
        self._file = file
        self._arrived = arrived

    def read(self, size: int = -1) -> bytes:
        """As a file does."""
        piece = self._file.read(size)
        self._arrived(len(piece))
        return piece


# -- putting it back


async def restore(
    backup: Checked,
    database_url: str,
    data: Path,
    *,
    name: str,
    replace: bool = False,
    arrived: Callable[[int], None] = lambda count: None,
) -> Restored:
    """Put a backup that was checked into a data folder and a database, which no yard uses.

    `name`: what tells this restore from others, a part of a path. Without `replace` both must be empty; with it what is
    there is moved aside. Raises Occupied, OutOfSpace, Conflict, DatabaseError, MigrationError; then all is as it was.
    """
    await recover(database_url, data)
    occupied = _occupied(database_url, data, backup.header)
    if occupied and not replace:
        raise Occupied(
            f"{occupied}; a backup is restored where there is nothing",
            hint="name another folder with --data, or say --replace: what is there is moved aside, not deleted",
        )
    _check_room(backup, data)
    staged = data / STAGED
    shutil.rmtree(staged, ignore_errors=True)
    try:
        with _no_space(data):
            staged.mkdir(parents=True, mode=0o700)
            return await _restore(backup, database_url, data, name, arrived)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _occupied(database_url: str, data: Path, header: Header) -> str | None:
    """What is in the way, in words."""
    if header.holds == "rows" and not (data / "blobs").is_dir():
        raise errors.Conflict(
            f"this backup holds rows alone, and there are no files in {data} that they could belong to",
            hint="restore it over the data folder that it was made of",
        )
    path = migrations.sqlite_path(database_url)
    if path is not None and path.exists() and path.stat().st_size:
        # Also one that cannot be read: who restores may do so because of that.
        return f"there is a database in {path} already"
    if path is None and migrations.read_revision(database_url) is not None:
        return "there is a yard in the PostgreSQL database already"
    if header.holds == "yard" and any(_holds_something(data / place) for place in _PLACES):
        return f"there are a yard's files in {data} already"
    return None


def _holds_something(place: Path) -> bool:
    if not place.is_dir():
        return place.exists()
    return any(files for _, _, files in os.walk(place))


def _check_room(backup: Checked, data: Path) -> None:
    needed = int(backup.bytes * _ROOM_FACTOR)
    free = shutil.disk_usage(data).free
    if needed > free:
        raise errors.OutOfSpace(
            f"the backup needs about {size_text(needed)}, and there are {size_text(free)} in {data}",
            hint="make room, or name a folder on another disk with --data; nothing was changed",
        )


@contextlib.contextmanager
def _no_space(data: Path) -> Iterator[None]:
    hint = f"make room on the disk of {data}; nothing was changed"
    try:
        yield
    except errors.OutOfSpace as error:
        raise errors.OutOfSpace(error.detail, hint=hint) from error
    except migrations.MigrationError as error:
        if "is full" not in error.detail:
            raise
        raise errors.OutOfSpace("the disk became full while tables were made", hint=hint) from error
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        raise errors.OutOfSpace("the disk became full while the backup was restored", hint=hint) from error


async def _restore(
    backup: Checked, database_url: str, data: Path, name: str, arrived: Callable[[int], None]
) -> Restored:
    path = migrations.sqlite_path(database_url)
    aside = f"before-restore-{name}"
    if path is not None:
        # Beside where it will be, so that it can be renamed though it is on another disk than the data folder.
        made = _made_beside(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _forget_made(path)
            revision = await _fill(backup, f"sqlite:///{made}", data / STAGED, name, arrived)
            made.chmod(0o600)
            durable.sync(made)
            old = _swap(data, _moves(backup.header, data, aside) + _database_moves(path, made, data, aside), name)
        finally:
            _forget_made(path)
        _done(data)
        return Restored(revision=revision, aside=data / aside if old else None, schema=None)
    with copies.staged(database_url) as stage:
        revision = await _fill(backup, stage.url, data / STAGED, name, arrived)
        old = _swap(data, _moves(backup.header, data, aside), name)
        schema = "modelyard_" + re.sub(r"[^a-z0-9]", "_", aside)
        try:
            tables = stage.swap(schema)
        except errors.ModelyardError:
            _undo(data)
            raise
    _done(data)
    return Restored(revision=revision, aside=data / aside if old else None, schema=schema if tables else None)


def _made_beside(database: Path) -> Path:
    return database.with_name(database.name + STAGED)


def _forget_made(database: Path) -> None:
    made = _made_beside(database)
    for ending in _OF_SQLITE:
        made.with_name(made.name + ending).unlink(missing_ok=True)


async def _fill(backup: Checked, database_url: str, staged: Path, name: str, arrived: Callable[[int], None]) -> str:
    """Make tables as they were, fill them and the staged folder, then bring the tables to what this yard uses."""
    await migrations.migrate(database_url, to=backup.header.revision)
    await _in_thread(partial(_read, backup, database_url, staged), arrived)
    done = await migrations.migrate(database_url)
    # Workers are not in a backup: what had not ended waits again, for a new one.
    mark = {"id": name}
    await asyncio.to_thread(copies.run, database_url, (START_ANEW, {}), (_UNMARK, {}), (_MARK, mark))
    return done.after


class _GivenUp(Exception):
    """Nobody waits any more for what is read."""


async def _in_thread(read: Callable[[Callable[[int], None]], None], arrived: Callable[[int], None]) -> None:
    """`read(arrived)` on a thread. Called off, it is over when the thread is: nothing is taken away under it."""
    given_up = threading.Event()

    def counted(count: int) -> None:
        if given_up.is_set():
            raise _GivenUp
        arrived(count)

    reading = asyncio.ensure_future(asyncio.to_thread(read, counted))
    try:
        await asyncio.shield(reading)
    except asyncio.CancelledError:
        given_up.set()
        await asyncio.wait([reading])
        reading.exception()
        raise


def _read(backup: Checked, database_url: str, staged: Path, arrived: Callable[[int], None]) -> None:
    with backup.path.open("rb") as file, copies.filling(database_url) as tables:
        reader = Reader(Counted(file, arrived))
        for place in () if reader.header.holds == "rows" else ("blobs", "journals"):
            (staged / place).mkdir()
        for member in reader.members():
            if member.name.startswith(archive.ROWS):
                _add_rows(tables, member)
            elif member.name != archive.CONTENTS:
                _check_name(member.name)
                _write(staged / member.name, member)
        if reader.header != backup.header or reader.end != backup.end:
            raise DamagedBackup(f"{backup.path} changed while it was restored")
    _sync_all(staged)


def _add_rows(tables: copies.Filling, member: Member) -> None:
    table = member.name.removeprefix(archive.ROWS).partition("/")[0]
    # One row may be as long as an output, so it has no limit here: its sum was right when it was checked.
    head, *lines = b"".join(member.pieces()).splitlines()
    try:
        columns = msgspec.json.decode(head, type=list[str])
        rows = [tuple(msgspec.json.decode(line, type=list[str | int | float | None])) for line in lines]
    except msgspec.DecodeError as error:
        raise DamagedBackup(f"{member.name} in the backup holds no rows: {error}") from None
    if any(len(row) != len(columns) for row in rows):
        raise DamagedBackup(f"{member.name} in the backup has rows of another length than its columns")
    tables.add(table, columns, rows)


def _write(path: Path, member: Member) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        if member.name == archive.KEY:
            path.chmod(0o600)
        for piece in member.pieces():
            file.write(piece)


def _sync_all(folder: Path) -> None:
    # One call for everything on the file system is quicker than one for each of many files.
    with contextlib.suppress(AttributeError):
        os.sync()
    durable.sync(folder)


# -- taking the place of what was there

Move = tuple[Path, Path]


def _moves(header: Header, data: Path, aside: str) -> list[Move]:
    if header.holds == "rows":
        return []
    away = [(data / place, data / aside / place) for place in _PLACES if (data / place).exists()]
    staged = data / STAGED
    return away + [(staged / place, data / place) for place in _PLACES if (staged / place).exists()]


def _database_moves(path: Path, made: Path, data: Path, aside: str) -> list[Move]:
    """The new file comes last: whether it is there tells whether all was done."""
    inside = path.parent == data
    away = []
    for ending in _OF_SQLITE:
        old = path.with_name(path.name + ending)
        kept = data / aside / old.name if inside else old.with_name(f"{old.name}.{aside}")
        if old.exists():
            away.append((old, kept))
    return [*away, (made, path)]


def _swap(data: Path, moves: list[Move], name: str) -> bool:
    """Do all of it, or none. Was something moved aside?"""
    plan = {"name": name, "moves": [[str(old), str(new)] for old, new in moves]}
    partly = data / (PLAN + ".part")
    partly.write_text(json.dumps(plan))
    durable.sync(partly)
    partly.replace(data / PLAN)
    durable.sync(data)
    try:
        for old, new in moves:
            new.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            old.rename(new)
        # Before the plan is forgotten: some of it may be on another disk.
        for folder in {place.parent for move in moves for place in move}:
            durable.sync(folder)
    except OSError:
        _undo(data)
        raise
    return any(new.is_relative_to(data / f"before-restore-{name}") for _, new in moves)


def _undo(data: Path) -> None:
    """Back to how it was, as far as it had come."""
    moves = json.loads((data / PLAN).read_text())["moves"]
    for old, new in reversed([(Path(old), Path(new)) for old, new in moves]):
        if new.exists() and not old.exists() and old.parent.is_dir():
            new.rename(old)
            with contextlib.suppress(OSError):
                new.parent.rmdir()
    _done(data)


def _done(data: Path) -> None:
    (data / PLAN).unlink(missing_ok=True)
    durable.sync(data)


async def recover(database_url: str, data: Path) -> bool:
    """Finish or undo what a restore that was killed left behind. Was there something to undo?

    Called before a folder is used, by whoever has it alone.
    """
    plan = data / PLAN
    if plan.exists():
        if await asyncio.to_thread(_mark_of, database_url) == json.loads(plan.read_text())["name"]:
            # The database is the last to be moved: all was done but saying so.
            _done(data)
        else:
            _undo(data)
    elif not (data / STAGED).exists():
        return False
    shutil.rmtree(data / STAGED, ignore_errors=True)
    if (path := migrations.sqlite_path(database_url)) is not None:
        _forget_made(path)
    return True


def _mark_of(database_url: str) -> str | None:
    with contextlib.suppress(DatabaseError):
        if migrations.read_revision(database_url) is not None:
            row = copies.one(database_url, _MARKED)
            return None if row is None else str(row["value"])
    return None
