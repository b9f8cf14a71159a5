"""The database on a PostgreSQL server: one connection that writes, a few that read, one that listens.

A group goes to the server in one piece (libpq's pipeline mode), its commit included where nothing has to be looked
at before. Text is compared by its bytes (the tables' collation is "C"), as in SQLite.
"""

from __future__ import annotations

import asyncio
import datetime
import decimal
import itertools
import logging
import select
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg import pq
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Dumper, Loader
from psycopg.rows import dict_row
from psycopg.types.numeric import Int8Dumper

from modelyard import errors
from modelyard.db.base import DatabaseError, DatabaseUnavailable, Row, Statement, UniqueViolation
from modelyard.db.dialect import Compiled, Compiler, storable
from modelyard.db.group import GroupLost, GroupWriter
from modelyard.db.listeners import Listeners
from modelyard.db.threads import Job, ThreadedDatabase, Values

CONNECT_SECONDS = 10
# All topics share one channel: a LISTEN for each would have to be taken up again after every reconnection.
CHANNEL = "modelyard"
LONGEST_PAUSE_SECONDS = 5.0

_NOTIFY = Statement("notify", f"SELECT pg_notify('{CHANNEL}', :message)")

_log = logging.getLogger(__name__)

Connection = psycopg.Connection[Row]
Cursor = psycopg.Cursor[Row]


class PostgresDatabase(ThreadedDatabase):
    """`url`: `postgresql://user:password@host:port/database`, or with the folder of a Unix socket, `?host=/folder`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._listeners = Listeners()
        self._listening: asyncio.Task[None] | None = None
        compiler = Compiler("postgres")
        super().__init__("postgres", lambda: _Writer(url, compiler), lambda: _Reader(url))

    async def open(self) -> None:
        await super().open()
        ready = asyncio.Event()
        self._listening = asyncio.create_task(self._listen(ready))
        await ready.wait()

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
            self._listening = None
        await super().close()

    async def notify(self, topic: str, payload: str = "") -> None:
        await self.run(_NOTIFY, {"message": f"{topic}\n{payload}"})

    def listen(self, topic: str, callback: Callable[[str], None]) -> Callable[[], None]:
        return self._listeners.add(topic, callback)

    async def _listen(self, ready: asyncio.Event) -> None:
        pause = 0.0
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._url, autocommit=True, connect_timeout=CONNECT_SECONDS, application_name="modelyard"
                ) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    pause = 0.0
                    ready.set()
                    async for notification in connection.notifies():
                        topic, _, payload = notification.payload.partition("\n")
                        self._listeners.deliver(topic, payload)
            except psycopg.Error as error:
                _log.warning("the connection that listens is lost, connecting again: %s", error)
            # Notifications only shorten waiting, so nobody waits for this connection, not even at the start.
            ready.set()
            pause = min(max(pause * 2, 0.1), LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause)


class _BoolDumper(Int8Dumper):
    def dump(self, obj: Any) -> Buffer | None:
        return b"1" if obj else b"0"


class _NoDumper(Dumper):
    """The driver would make text of it by rules of its own."""

    def dump(self, obj: Any) -> Buffer | None:
        raise psycopg.DataError(f"a value of type {type(obj).__name__} is not kept: a text or a number is wanted")


class _NumericLoader(Loader):
    """Sums of big integers are numerics there: an integer where it is one, else a float."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdigit() else float(text)


def _adapt(adapters: AdaptersMap) -> None:
    # One type for all integers: with a type that depends on the value, a statement would be prepared many times.
    adapters.register_dumper(int, Int8Dumper)
    adapters.register_dumper(bool, _BoolDumper)
    for kind in (bytes, bytearray, memoryview, list, tuple, datetime.datetime, datetime.date, decimal.Decimal):
        adapters.register_dumper(kind, _NoDumper)
    adapters.register_loader("numeric", _NumericLoader)


def connect(url: str) -> Connection:
    """A connection that commits nothing by itself, takes `$1` parameters and gives rows as dicts."""
    try:
        connection: Connection = psycopg.connect(
            url,
            autocommit=True,
            row_factory=dict_row,
            cursor_factory=psycopg.RawCursor,
            connect_timeout=CONNECT_SECONDS,
            application_name="modelyard",
        )
    except psycopg.Error as error:
        raise DatabaseUnavailable(
            f"no connection to PostgreSQL: {_words(error)}",
            hint="check the database's address (--database, MODELYARD_DATABASE) and that the server runs",
        ) from error
    connection.prepare_threshold = 1
    _adapt(connection.adapters)
    return connection


class _Reader:
    def __init__(self, url: str) -> None:
        self._url = url
        self._connection = connect(url)

    def read(self, compiled: Compiled, values: Values, first: bool) -> Any:
        try:
            rows = self._rows(compiled, values)
        except DatabaseUnavailable:
            # The server was restarted, or something between closed an idle connection; reading twice is harmless.
            self._connection.close()
            self._connection = connect(self._url)
            rows = self._rows(compiled, values)
        return next(iter(rows), None) if first else rows

    def close(self) -> None:
        self._connection.close()

    def _rows(self, compiled: Compiled, values: Values) -> list[Row]:
        try:
            cursor = self._connection.execute(compiled.sql, values)
            return cursor.fetchall() if cursor.description else []
        except (psycopg.Error, UnicodeEncodeError) as error:
            raise _translate(error, compiled.statement.name, self._connection) from error


class _Writer(GroupWriter):
    def __init__(self, url: str, compiler: Compiler) -> None:
        super().__init__(compiler)
        self._url = url
        self._connection = connect(url)
        self._committed = False

    def close(self) -> None:
        self._connection.close()

    def begin(self) -> None:
        if self._connection.closed or _hung_up(self._connection):
            self._connection.close()
            try:
                self._connection = connect(self._url)
            except DatabaseUnavailable as error:
                raise GroupLost(error) from error
        self._committed = False
        self.command("BEGIN")

    def commit(self) -> None:
        if not self._committed:
            self.command("COMMIT")

    def roll_back(self) -> None:
        try:
            if self._connection.info.transaction_status != pq.TransactionStatus.IDLE:
                self._connection.execute("ROLLBACK")
        except psycopg.Error:
            # A connection on which not even that works is not used again; the server undoes what was open.
            self._connection.close()

    def command(self, sql: str) -> None:
        try:
            self._connection.execute(sql)
        except psycopg.Error as error:
            raise GroupLost(_translate(error, sql.partition(" ")[0].lower(), self._connection)) from error

    def do_group(self, jobs: list[Job]) -> None:
        left = len(jobs)
        for plain, run in itertools.groupby(jobs, _is_plain):
            alike = list(run)
            left -= len(alike)
            if plain and len(alike) > 1 and self._do_together(alike, last=not left):
                continue
            for job in alike:
                self.do_alone(job)

    def execute(self, compiled: Compiled, values: Values) -> tuple[list[Row], int]:
        try:
            return self._execute(compiled, values)
        except UnicodeEncodeError:
            return self.execute(compiled, storable(values))
        except psycopg.DataError as error:
            # Refused by the driver itself, for a NUL in a text: kept as U+FFFD, the rest as it is.
            clean = storable(values)
            if error.sqlstate is None and clean != values:
                return self.execute(compiled, clean)
            raise self._failed(error, compiled) from error
        except psycopg.Error as error:
            raise self._failed(error, compiled) from error

    def _execute(self, compiled: Compiled, values: Values) -> tuple[list[Row], int]:
        """One statement, in a savepoint: one that fails must not take the transaction with it."""
        try:
            with self._connection.pipeline():
                self._connection.execute("SAVEPOINT one")
                cursor = self._connection.execute(compiled.sql, values)
                self._connection.execute("RELEASE SAVEPOINT one")
        except (psycopg.Error, UnicodeEncodeError):
            if not self._connection.closed:
                self.command("ROLLBACK TO SAVEPOINT one")
            raise
        return (cursor.fetchall() if cursor.description else []), max(cursor.rowcount, 0)

    def _failed(self, error: psycopg.Error, compiled: Compiled) -> errors.ModelyardError:
        reason = _translate(error, compiled.statement.name, self._connection)
        if self._connection.closed:
            raise GroupLost(reason) from error
        return reason

    def _do_together(self, jobs: list[Job], *, last: bool) -> bool:
        """Any statements, sent at once, with the commit behind them when they are the last of the group.

        False, and nothing done, where one failed: then each needs its own answer.
        """
        try:
            with self._connection.pipeline():
                self._connection.execute("SAVEPOINT together")
                cursors = self._send(jobs)
                self._connection.execute("COMMIT" if last else "RELEASE SAVEPOINT together")
        except (psycopg.Error, UnicodeEncodeError) as error:
            if self._connection.closed:
                raise GroupLost(_translate(error, "commit", self._connection)) from error
            self.command("ROLLBACK TO SAVEPOINT together")
            return False
        self._committed = last
        for job, cursor in zip(jobs, cursors, strict=True):
            job.result = max(cursor.rowcount, 0)
        return True

    def _send(self, jobs: Sequence[Job]) -> list[Cursor]:
        return [self._connection.execute(job.compiled.sql, job.values) for job in jobs if job.compiled is not None]


def _is_plain(job: Job) -> bool:
    return job.work is None


def _hung_up(connection: Connection) -> bool:
    """Between two groups a server that lives is silent."""
    readable, _, _ = select.select([connection.fileno()], [], [], 0)
    return bool(readable)


def _translate(error: Exception, name: str, connection: Connection) -> errors.ModelyardError:
    if isinstance(error, pg.UniqueViolation):
        words = f"{name}: there is a row with this key already ({error.diag.constraint_name})"
        return UniqueViolation(words, error.diag.table_name or "")
    if isinstance(error, pg.DiskFull):
        return errors.OutOfSpace(f"{name}: the database server's disk is full")
    if connection.closed or isinstance(error, pg.AdminShutdown):
        return DatabaseUnavailable(f"{name}: the connection to PostgreSQL broke ({_words(error)})")
    return DatabaseError(f"{name}: {_words(error)}")


def _words(error: Exception) -> str:
    return " ".join(str(error).split())
