"""The database in one file: SQLite in WAL mode, one connection that writes and a few that read.

`fsync="power"`: a commit is on the disk before it is told (it survives a power cut). `fsync="process"`: it is with the
operating system (it survives the death of any process); after a power cut the file is whole and may lack the last
commits.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from modelyard import errors
from modelyard.db import together
from modelyard.db.base import DatabaseError, Row, UniqueViolation
from modelyard.db.dialect import Compiled, Compiler, storable
from modelyard.db.group import GroupLost, GroupWriter
from modelyard.db.listeners import Listeners
from modelyard.db.threads import Job, ThreadedDatabase, Values

Fsync = Literal["power", "process"]

# 3.37 brought STRICT tables, which refuse a value of the wrong type as PostgreSQL does.
NEEDED_VERSION = (3, 37, 0)
BUSY_SECONDS = 10.0
_UNIQUE = {"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"}
_SETTINGS = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
)
_WRITER_SETTINGS = (
    "PRAGMA journal_mode = WAL",
    # Copying the log into the file takes a while, so not at every fourth megabyte; and it never stays long.
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA cache_size = -8192",
    # On macOS an ordinary fsync does not reach the disk.
    "PRAGMA fullfsync = ON",
)
# Not all are the driver's: a number beyond 64 bits is an OverflowError, half a surrogate pair a UnicodeEncodeError.
_DRIVER_ERRORS = (sqlite3.Error, OverflowError, UnicodeEncodeError)
_SYNCHRONOUS = {"power": "FULL", "process": "NORMAL"}


class SqliteDatabase(ThreadedDatabase):
    """`path`: the file, made when it is missing; its folder exists. One process has it open."""

    def __init__(self, path: Path, fsync: Fsync = "power") -> None:
        self._listeners = Listeners()
        compiler = Compiler("sqlite")
        super().__init__("sqlite", lambda: _Writer(path, fsync, compiler), lambda: _Reader(path))

    async def notify(self, topic: str, payload: str = "") -> None:
        self._opened().call_soon(self._listeners.deliver, topic, payload)

    def listen(self, topic: str, callback: Callable[[str], None]) -> Callable[[], None]:
        return self._listeners.add(topic, callback)


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection that is left alone by the driver: no implicit BEGIN."""
    if sqlite3.sqlite_version_info < NEEDED_VERSION:
        wanted = ".".join(map(str, NEEDED_VERSION))
        raise DatabaseError(
            f"this Python has SQLite {sqlite3.sqlite_version}; {wanted} or newer is needed",
            hint="use a newer Python (`uv python install 3.12`), or PostgreSQL",
        )
    mode = "ro" if read_only else "rwc"
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            cached_statements=256,
        )
        for setting in _SETTINGS:
            connection.execute(setting)
    except sqlite3.Error as error:
        raise DatabaseError(f"the database {path} cannot be opened: {error}") from error
    return connection


class _Reader:
    def __init__(self, path: Path) -> None:
        self._connection = connect(path, read_only=True)

    def read(self, compiled: Compiled, values: Values, first: bool) -> Any:
        rows = _rows(_execute(self._connection, compiled, values))
        return next(iter(rows), None) if first else rows

    def close(self) -> None:
        self._connection.close()


class _Writer(GroupWriter):
    def __init__(self, path: Path, fsync: Fsync, compiler: Compiler) -> None:
        super().__init__(compiler)
        self._connection = connect(path)
        try:
            for setting in (*_WRITER_SETTINGS, f"PRAGMA synchronous = {_SYNCHRONOUS[fsync]}"):
                self._connection.execute(setting)
        except sqlite3.Error as error:
            self._connection.close()
            raise DatabaseError(f"the database {path} cannot be opened: {error}") from error

    def close(self) -> None:
        self._connection.close()

    def commit_group(self, jobs: list[Job]) -> None:
        if not self._as_one_statement(jobs):
            super().commit_group(jobs)

    def _as_one_statement(self, jobs: list[Job]) -> bool:
        """A statement by itself is a transaction: no word before it and none after. False, and nothing done, else."""
        compiled = jobs[0].compiled
        if compiled is None or any(job.compiled is not compiled for job in jobs):
            return False
        if len(jobs) == 1:
            try:
                cursor = _execute(self._connection, compiled, jobs[0].values)
                _rows(cursor)  # what it returns must be fetched before it is over
                jobs[0].result = max(cursor.rowcount, 0)
            except errors.ModelyardError as error:
                jobs[0].error = error
            return True
        if not compiled.whole or compiled.together is None or not together.is_one_chunk(len(jobs)):
            return False
        try:
            self._execute_all(compiled, [job.values for job in jobs])
        except _DRIVER_ERRORS:
            # One of them is at fault, and undid all: each gets its own answer.
            return False
        for job in jobs:
            job.result = 1
        return True

    def begin(self) -> None:
        self.command("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self.command("COMMIT")

    def roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def command(self, sql: str) -> None:
        try:
            self._connection.execute(sql)
        except sqlite3.Error as error:
            raise GroupLost(_translate(error, sql.partition(" ")[0].lower())) from error

    def do_group(self, jobs: list[Job]) -> None:
        for compiled, run in groupby(jobs, _statement_of):
            alike = list(run)
            if compiled is not None and compiled.one_row and len(alike) > 1 and self._do_together(compiled, alike):
                continue
            for job in alike:
                self.do_alone(job)

    def execute(self, compiled: Compiled, values: Values) -> tuple[list[Row], int]:
        try:
            cursor = _execute(self._connection, compiled, values)
            return _rows(cursor), max(cursor.rowcount, 0)
        except errors.ModelyardError as error:
            self._check_alive(error)
            raise

    def _do_together(self, compiled: Compiled, jobs: list[Job]) -> bool:
        """All at once; False, and nothing done, where one failed or touched no row: then each needs its own answer."""
        self.command("SAVEPOINT together")
        try:
            done = self._execute_all(compiled, [job.values for job in jobs]) == len(jobs)
        except _DRIVER_ERRORS as error:
            self._check_alive(_translate(error, compiled.statement.name))
            done = False
        if not done:
            self.command("ROLLBACK TO SAVEPOINT together")
        self.command("RELEASE SAVEPOINT together")
        if done:
            for job in jobs:
                job.result = 1
        return done

    def _execute_all(self, compiled: Compiled, rows: list[Values]) -> int:
        if compiled.together is None:
            return self._connection.executemany(compiled.sql, rows).rowcount
        chunks = together.chunks(rows)
        return sum(self._connection.execute(compiled.together(size), values).rowcount for size, values in chunks)

    def _check_alive(self, error: errors.ModelyardError) -> None:
        # On some failures (disk full, I/O error) SQLite ends the whole transaction; what came after would be outside.
        if not self._connection.in_transaction:
            raise GroupLost(error) from error


def _statement_of(job: Job) -> Compiled | None:
    return job.compiled


def _execute(connection: sqlite3.Connection, compiled: Compiled, values: Values) -> sqlite3.Cursor:
    try:
        return connection.execute(compiled.sql, values)
    except UnicodeEncodeError:
        # Half a surrogate pair has no UTF-8 and is nothing that anyone meant: kept as U+FFFD, the rest as it is.
        return connection.execute(compiled.sql, storable(values))
    except _DRIVER_ERRORS as error:
        raise _translate(error, compiled.statement.name) from error


def _rows(cursor: sqlite3.Cursor) -> list[Row]:
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]


def _translate(error: Exception, name: str) -> errors.ModelyardError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if getattr(error, "sqlite_errorname", "") in _UNIQUE:
        table = str(error).rpartition(": ")[2].partition(".")[0]
        return UniqueViolation(f"{name}: there is a row with this key already ({error})", table)
    if code == sqlite3.SQLITE_FULL:
        return errors.OutOfSpace(f"{name}: the disk is full", hint="make room on the disk that holds the data folder")
    return DatabaseError(f"{name}: {error}")
