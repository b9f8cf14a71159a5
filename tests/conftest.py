"""Fixtures for every room's tests: databases with their tables, on both adapters; this machine's other address."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import postgres_server
import psycopg
import pytest
import s3_server

from modelyard.db import migrations
from modelyard.db.base import Database
from modelyard.db.postgres import PostgresDatabase
from modelyard.db.sqlite import SqliteDatabase
from modelyard.oci.client import reference

pytest.register_assert_rewrite("database_suite", "blobs_suite", "engines_suite")

_TEMPLATE = "yard_template"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The one event loop that we run on."""
    return "asyncio"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file, to be copied: migrating takes a second."""
    folder = tmp_path_factory.mktemp("sqlite")
    asyncio.run(migrations.migrate(f"sqlite:///{folder / 'template.db'}"))
    return folder / "template.db"


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A database of this test, migrated and empty."""
    path = tmp_path / "yard.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def postgres_running() -> Iterator[postgres_server.PostgresServer]:
    """A server for the whole run, with a migrated database to be copied."""
    programs = postgres_server.find_programs()
    if programs is None:
        pytest.skip(postgres_server.HOW_TO_HAVE_IT)
    with postgres_server.make_server(programs) as server, server.running():
        _command(server, f"CREATE DATABASE {_TEMPLATE}")
        asyncio.run(migrations.migrate(server.url(_TEMPLATE)))
        yield server


@pytest.fixture
def postgres_url(postgres_running: postgres_server.PostgresServer) -> Iterator[str]:
    """A database of this test, migrated and empty."""
    name = f"yard_{next(_numbers)}"
    _command(postgres_running, f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
    yield postgres_running.url(name)
    _command(postgres_running, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database of this test, on each adapter in turn."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def db(anyio_backend: str, database_url: str) -> AsyncIterator[Database]:
    """An open database of this test, migrated and empty, on each adapter in turn."""
    path = migrations.sqlite_path(database_url)
    database: Database = PostgresDatabase(database_url) if path is None else SqliteDatabase(path, fsync="process")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def unmade_postgres_url(postgres_running: postgres_server.PostgresServer) -> Iterator[str]:
    """A database of this test in which there is nothing."""
    name = f"yard_unmade_{next(_numbers)}"
    _command(postgres_running, f"CREATE DATABASE {name}")
    yield postgres_running.url(name)
    _command(postgres_running, f"DROP DATABASE {name} WITH (FORCE)")


def _command(server: postgres_server.PostgresServer, sql: str) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.encode())


@pytest.fixture
async def sqlite_db(anyio_backend: str, sqlite_url: str) -> AsyncIterator[Database]:
    """The same on SQLite alone, for what does not depend on the database."""
    path = migrations.sqlite_path(sqlite_url)
    assert path is not None
    database: Database = SqliteDatabase(path, fsync="process")
    await database.open()
    yield database
    await database.close()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3_server.S3Server]:
    """A server that speaks S3, with an empty bucket, for the whole run: each test takes a prefix of its own."""
    server = s3_server.make(tmp_path_factory.mktemp("s3") / "buckets")
    with server.running():
        yield server


@pytest.fixture
def other_address() -> str:
    """An address of this machine that is not the one for itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing, and says which address it would be sent from
        except OSError:
            pytest.skip("this machine has no address but its own")
        found = str(probe.getsockname()[0])
    if reference.is_local(found):
        pytest.skip("this machine has no address but its own")
    return found
