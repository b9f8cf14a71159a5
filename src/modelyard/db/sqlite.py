"""The database in one file: SQLite in WAL mode, one connection that writes and a few that read.

`fsync="power"`: a commit is on the disk before it is told (it survives a power cut). `fsync="process"`: it is with the
operating system (it survives the death of any process); after a power cut the file is whole and may lack the last
commits.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from modelyard import errors
from modelyard.db import base
from modelyard.db.base import NO_PARAMS, DatabaseError, Params, Row, Statement, UniqueViolation
from modelyard.db.dialect import Compiled, Compiler
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
        self._listeners: dict[str, list[Callable[[str], None]]] = {}
        compiler = Compiler("sqlite")
        super().__init__("sqlite", lambda: _Writer(path, fsync, compiler), lambda: _Reader(path))

    async def notify(self, topic: str, payload: str = "") -> None:
        loop = self._opened()
        for callback in self._listeners.get(topic, ()):
            loop.call_soon(callback, payload)

    def listen(self, topic: str, callback: Callable[[str], None]) -> Callable[[], None]:
        self._listeners.setdefault(topic, []).append(callback)

        def unlisten() -> None:
            callbacks = self._listeners.get(topic, [])
            if callback in callbacks:
                callbacks.remove(callback)
            if not callbacks:
                self._listeners.pop(topic, None)

        return unlisten


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


class _Writer:
    """The one connection that writes; also the `Tx` that the work of a transaction is given."""

    def __init__(self, path: Path, fsync: Fsync, compiler: Compiler) -> None:
        self._compile = compiler
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
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for compiled, run in groupby(jobs, _statement_of):
                self._do(compiled, list(run))
            self._connection.execute("COMMIT")
        except _GroupLost as lost:
            self._abandon(jobs, lost.reason)
        except sqlite3.Error as error:
            self._abandon(jobs, _translate(error, "commit"))

    def one(self, stmt: Statement, **params: Any) -> Row | None:
        return next(iter(self.all(stmt, **params)), None)

    def all(self, stmt: Statement, **params: Any) -> list[Row]:
        compiled = self._compile(stmt)
        return _rows(self._execute(compiled, compiled.bind(params)))

    def run(self, stmt: Statement, params: Params = NO_PARAMS) -> int:
        compiled = self._compile(stmt)
        return self._write(compiled, compiled.bind(params))

    def _do(self, compiled: Compiled | None, jobs: list[Job]) -> None:
        if compiled is not None and compiled.one_row and len(jobs) > 1 and self._do_together(compiled, jobs):
            return
        for job in jobs:
            self._do_alone(job)

    def _do_together(self, compiled: Compiled, jobs: list[Job]) -> bool:
        """All at once; False, and nothing done, where one failed or touched no row: then each needs its own answer."""
        self._connection.execute("SAVEPOINT together")
        try:
            cursor = self._connection.executemany(compiled.sql, [job.values for job in jobs])
            done = cursor.rowcount == len(jobs)
        except _DRIVER_ERRORS as error:
            self._check_alive(error, compiled)
            done = False
        self._end_savepoint("together", keep=done)
        if done:
            for job in jobs:
                job.result = 1
        return done

    def _do_alone(self, job: Job) -> None:
        try:
            if job.work is not None:
                job.result = self._do_work(job.work)
            elif job.compiled is not None:
                job.result = self._write(job.compiled, job.values)
        except _GroupLost:
            raise
        except Exception as error:  # of the caller's own work or statement: theirs alone
            job.error = error

    def _do_work(self, work: Callable[[base.Tx], Any]) -> Any:
        self._connection.execute("SAVEPOINT work")
        try:
            result = work(self)
        except Exception:
            self._end_savepoint("work", keep=False)
            raise
        self._end_savepoint("work", keep=True)
        return result

    def _write(self, compiled: Compiled, values: Values) -> int:
        return max(self._execute(compiled, values).rowcount, 0)

    def _execute(self, compiled: Compiled, values: Values) -> sqlite3.Cursor:
        try:
            return _execute(self._connection, compiled, values)
        except errors.ModelyardError as error:
            self._check_alive(error, compiled)
            raise

    def _check_alive(self, error: Exception, compiled: Compiled) -> None:
        # On some failures (disk full, I/O error) SQLite ends the whole transaction; what came after would be outside.
        if not self._connection.in_transaction:
            reason = error if isinstance(error, errors.ModelyardError) else _translate(error, compiled.statement.name)
            raise _GroupLost(reason) from error

    def _end_savepoint(self, name: str, *, keep: bool) -> None:
        if not keep:
            self._connection.execute(f"ROLLBACK TO {name}")
        self._connection.execute(f"RELEASE {name}")

    def _abandon(self, jobs: list[Job], reason: errors.ModelyardError) -> None:
        """Nothing of the group was kept: tell everyone."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        for job in jobs:
            job.error = job.error or reason


class _GroupLost(BaseException):
    """The transaction of the whole group is gone. Not an `Exception`: the work of a transaction must not catch it."""

    def __init__(self, reason: errors.ModelyardError) -> None:
        self.reason = reason


def _statement_of(job: Job) -> Compiled | None:
    return job.compiled


def _execute(connection: sqlite3.Connection, compiled: Compiled, values: Values) -> sqlite3.Cursor:
    try:
        return connection.execute(compiled.sql, values)
    except UnicodeEncodeError:
        # Half a surrogate pair has no UTF-8 and is nothing that anyone meant: kept as U+FFFD, the rest as it is.
        return connection.execute(compiled.sql, tuple(map(_storable, values)))
    except _DRIVER_ERRORS as error:
        raise _translate(error, compiled.statement.name) from error


def _storable(value: Any) -> Any:
    return re.sub("[\ud800-\udfff]", "\ufffd", value) if isinstance(value, str) else value


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
