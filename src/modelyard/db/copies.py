"""All rows of a database as plain values: read as they were at one moment, written into tables that are empty.

For backups: the reading disturbs nobody who uses the database meanwhile, and what came from one dialect goes into the
other. Synchronous; a connection here belongs to nobody else and may be used by one thread after another.
"""

from __future__ import annotations

import contextlib
import importlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from modelyard import errors
from modelyard.db import migrations
from modelyard.db.base import DatabaseError, Row, Statement
from modelyard.db.dialect import Compiler, storable

Values = tuple[Any, ...]

# Rows that are fetched at a time.
FETCHED = 1000
_BUSY_SECONDS = 10.0
_BOOKKEEPING = "alembic_version"
# How long a connection that was just closed may still be seen by the server.
_LEAVING_SECONDS = 2.0
_STAGE = "modelyard_restoring"
# Any number that nobody else uses: one restore at a time.
_STAGE_LOCK = 4_160_273_912


class Snapshot(Protocol):
    """A database at one moment. `tables`: the columns of each, by name; `revision`: of its tables."""

    revision: str
    tables: Mapping[str, tuple[str, ...]]

    def rows(self, table: str) -> Iterator[Values]:
        """The rows of a table, values in the order of its columns. Raises DatabaseError."""


class Filling(Protocol):
    """Tables that are being filled."""

    def add(self, table: str, columns: Sequence[str], rows: Sequence[Values]) -> None:
        """Add rows. Raises DatabaseError, OutOfSpace."""


@contextlib.contextmanager
def snapshot(database_url: str) -> Iterator[Snapshot]:
    """The rows as they are now, however long they are read. Raises DatabaseError, DatabaseUnavailable.

    On SQLite its log cannot shrink meanwhile, so it is not kept for longer than it takes to read.
    """
    revision = migrations.read_revision(database_url)
    if revision is None:
        raise DatabaseError("there is no yard in this database: it has no tables")
    path = migrations.sqlite_path(database_url)
    opened = _SqliteSnapshot(path, revision) if path is not None else _PostgresSnapshot(database_url, revision)
    try:
        yield cast("Snapshot", opened)
    finally:
        opened.close()


@contextlib.contextmanager
def filling(database_url: str) -> Iterator[Filling]:
    """Fill the tables of a database, all of it in one transaction: after an error nothing is there."""
    path = migrations.sqlite_path(database_url)
    opened = _SqliteFilling(path) if path is not None else _PostgresFilling(database_url)
    try:
        yield opened
        opened.commit()
    finally:
        opened.close()


def run(database_url: str, *writes: tuple[Statement, Mapping[str, Any]]) -> None:
    """Execute named writes one after the other. Raises DatabaseError, OutOfSpace."""
    path = migrations.sqlite_path(database_url)
    compiler = Compiler("sqlite" if path is not None else "postgres")
    with contextlib.closing(_open(database_url)) as connection:
        for stmt, params in writes:
            compiled = compiler(stmt)
            with _translated(path is not None):
                connection.execute(compiled.sql, compiled.bind(params))


def one(database_url: str, stmt: Statement, **params: Any) -> Row | None:
    """The first row that a statement gives. Raises DatabaseError."""
    path = migrations.sqlite_path(database_url)
    compiled = Compiler("sqlite" if path is not None else "postgres")(stmt)
    with contextlib.closing(_open(database_url)) as connection, _translated(path is not None):
        cursor = connection.execute(compiled.sql, compiled.bind(params))
        row = cursor.fetchone()
        names = [column[0] for column in cursor.description]
    if row is None:
        return None
    return dict(row) if path is None else dict(zip(names, row, strict=True))


def _open(database_url: str) -> Any:
    path = migrations.sqlite_path(database_url)
    return _sqlite(path, read_only=False) if path is not None else _postgres().connect(database_url)


@contextlib.contextmanager
def _translated(of_sqlite: bool) -> Iterator[None]:
    if of_sqlite:
        try:
            yield
        except (sqlite3.Error, OverflowError) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
                raise errors.OutOfSpace("the disk that holds the database is full") from error
            raise DatabaseError(f"the database could not be used: {error}") from error
        return
    driver = _postgres().psycopg
    try:
        yield
    except driver.errors.DiskFull as error:
        raise errors.OutOfSpace("the disk of the database server is full") from error
    except driver.Error as error:
        raise DatabaseError(f"the database could not be used: {' '.join(str(error).split())}") from error


# -- SQLite


def _sqlite(path: Path, *, read_only: bool) -> sqlite3.Connection:
    with _translated(of_sqlite=True):
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )


class _SqliteSnapshot:
    def __init__(self, path: Path, revision: str) -> None:
        self.revision = revision
        self._connection = _sqlite(path, read_only=True)
        with _translated(of_sqlite=True):
            # The moment is that of the first read, which is this one.
            self._connection.execute("BEGIN")
            self.tables = {name: _sqlite_columns(self._connection, name) for name in _sqlite_tables(self._connection)}

    def rows(self, table: str) -> Iterator[Values]:
        with _translated(of_sqlite=True):
            cursor = self._connection.execute(_select(table, self.tables[table]))
            while rows := cursor.fetchmany(FETCHED):
                yield from rows

    def close(self) -> None:
        self._connection.close()


class _SqliteFilling:
    def __init__(self, path: Path) -> None:
        self._connection = _sqlite(path, read_only=False)
        self.tables = {name: _sqlite_columns(self._connection, name) for name in _sqlite_tables(self._connection)}
        with _translated(of_sqlite=True):
            # The file is nobody's yet; whoever fills it puts it on the disk when it is whole.
            self._connection.execute("PRAGMA synchronous = OFF")
            self._connection.execute("BEGIN")

    def add(self, table: str, columns: Sequence[str], rows: Sequence[Values]) -> None:
        _check(self.tables, table, columns)
        marks = ", ".join("?" * len(columns))
        sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - names of our own tables
        with _translated(of_sqlite=True):
            self._connection.executemany(sql, rows)

    def commit(self) -> None:
        with _translated(of_sqlite=True):
            self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()


def _sqlite_tables(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return [name for (name,) in found.fetchall() if name != _BOOKKEEPING and not name.startswith("sqlite_")]


def _sqlite_columns(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    return tuple(name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,)))


# -- PostgreSQL


def _postgres() -> Any:
    # An extra, and 20 MB: not loaded by those who use SQLite.
    return importlib.import_module("modelyard.db.postgres")


class _PostgresSnapshot:
    def __init__(self, database_url: str, revision: str) -> None:
        self.revision = revision
        self._connection = _postgres().connect(database_url)
        with _translated(of_sqlite=False):
            self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            self.tables = _postgres_tables(self._connection)

    def rows(self, table: str) -> Iterator[Values]:
        with _translated(of_sqlite=False):
            self._connection.execute(f"DECLARE copied NO SCROLL CURSOR FOR {_select(table, self.tables[table])}")
            while rows := self._connection.execute(f"FETCH {FETCHED} FROM copied").fetchall():
                yield from (tuple(row.values()) for row in rows)
            self._connection.execute("CLOSE copied")

    def close(self) -> None:
        self._connection.close()


class _PostgresFilling:
    def __init__(self, database_url: str) -> None:
        self._connection = _postgres().connect(database_url)
        with _translated(of_sqlite=False):
            self.tables = _postgres_tables(self._connection)
            self._connection.execute("BEGIN")

    def add(self, table: str, columns: Sequence[str], rows: Sequence[Values]) -> None:
        _check(self.tables, table, columns)
        copying = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
        with _translated(of_sqlite=False), self._connection.cursor().copy(copying) as copy:
            for row in rows:
                # SQLite keeps a NUL in a text.
                copy.write_row(storable(row))

    def commit(self) -> None:
        with _translated(of_sqlite=False):
            self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()


def _postgres_tables(connection: Any) -> dict[str, tuple[str, ...]]:
    tables: dict[str, tuple[str, ...]] = {}
    for row in connection.execute(
        "SELECT table_name, column_name FROM information_schema.columns c WHERE table_schema = current_schema()"
        " ORDER BY table_name, ordinal_position"
    ).fetchall():
        if row["table_name"] != _BOOKKEEPING:
            tables[row["table_name"]] = (*tables.get(row["table_name"], ()), row["column_name"])
    return tables


class Stage:
    """A place in a PostgreSQL database where tables are made beside those in use. `url` leads there."""

    def __init__(self, connection: Any, database_url: str) -> None:
        self._connection = connection
        self.url = _with_search_path(database_url, _STAGE)

    def swap(self, aside: str) -> bool:
        """Put what is staged in the place of what is in use, at once; that goes into the schema `aside`.

        False where nothing was in use, and nothing is aside. Raises DatabaseError, after which all is as it was.
        """
        with _translated(of_sqlite=False), self._connection.transaction():
            current = self._connection.execute("SELECT current_schema() AS name").fetchone()["name"]
            old = self._names(current)
            if old:
                self._connection.execute(f'CREATE SCHEMA "{aside}"')
            for name in old:
                self._connection.execute(f'ALTER TABLE "{current}"."{name}" SET SCHEMA "{aside}"')
            for name in self._names(_STAGE):
                self._connection.execute(f'ALTER TABLE "{_STAGE}"."{name}" SET SCHEMA "{current}"')
            self._connection.execute(f'DROP SCHEMA "{_STAGE}"')
        return bool(old)

    def _names(self, schema: str) -> list[str]:
        sql = "SELECT tablename FROM pg_tables WHERE schemaname = $1 ORDER BY tablename"
        return [row["tablename"] for row in self._connection.execute(sql, (schema,)).fetchall()]


@contextlib.contextmanager
def staged(database_url: str) -> Iterator[Stage]:
    """A `Stage` of a PostgreSQL database; what was not swapped is dropped at the end.

    Raises Conflict where a yard has the database open, or another restore goes on.
    """
    with contextlib.closing(_postgres().connect(database_url)) as connection, _translated(of_sqlite=False):
        free = connection.execute(f"SELECT pg_try_advisory_lock({_STAGE_LOCK}) AS free").fetchone()["free"]
        if not free:
            raise errors.Conflict("another restore into this database is going on", hint="wait until it has ended")
        _refuse_others(connection)
        connection.execute(f'DROP SCHEMA IF EXISTS "{_STAGE}" CASCADE')
        connection.execute(f'CREATE SCHEMA "{_STAGE}"')
        try:
            yield Stage(connection, database_url)
        finally:
            if not connection.closed:
                connection.execute(f'DROP SCHEMA IF EXISTS "{_STAGE}" CASCADE')


def _refuse_others(connection: Any) -> None:
    sql = (
        "SELECT COUNT(*) AS others FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'modelyard' AND pid <> pg_backend_pid()"
    )
    deadline = time.monotonic() + _LEAVING_SECONDS
    while others := connection.execute(sql).fetchone()["others"]:
        if time.monotonic() > deadline:
            raise errors.Conflict(
                f"a yard is using this PostgreSQL database ({others} connections of it are open)",
                hint="stop it first: yard down, on the machine where it runs",
            )
        time.sleep(0.05)


def _with_search_path(database_url: str, schema: str) -> str:
    parts = urlsplit(database_url)
    query = parse_qsl(parts.query)
    options = " ".join([value for name, value in query if name == "options"] + [f"-csearch_path={schema}"])
    rest = [(name, value) for name, value in query if name != "options"]
    return urlunsplit(parts._replace(query=urlencode([*rest, ("options", options)], quote_via=quote)))


# -- both


def _select(table: str, columns: Sequence[str]) -> str:
    return f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608 - names that the database gave


def _check(tables: Mapping[str, tuple[str, ...]], table: str, columns: Sequence[str]) -> None:
    """What comes from a file names nothing that is not there."""
    if table not in tables or not set(columns) <= set(tables[table]):
        raise DatabaseError(f"this database has no table {table!r} with the columns {', '.join(map(repr, columns))}")
