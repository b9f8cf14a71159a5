"""Both database adapters keep the same promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from database_suite import DatabaseSuite, Make

from modelyard.db.base import Database
from modelyard.db.postgres import PostgresDatabase
from modelyard.db.sqlite import SqliteDatabase


@pytest.fixture
async def database(anyio_backend: str, make: Make) -> AsyncIterator[Database]:
    """Open, migrated and empty."""
    opened = make()
    await opened.open()
    yield opened
    await opened.close()


class TestSqlite(DatabaseSuite):
    @pytest.fixture
    def make(self, sqlite_url: str) -> Make:
        return lambda: SqliteDatabase(Path(sqlite_url.removeprefix("sqlite:///")), fsync="process")


class TestSqliteSafeFromPowerLoss(DatabaseSuite):
    @pytest.fixture
    def make(self, sqlite_url: str) -> Make:
        return lambda: SqliteDatabase(Path(sqlite_url.removeprefix("sqlite:///")), fsync="power")


class TestPostgres(DatabaseSuite):
    @pytest.fixture
    def make(self, postgres_url: str) -> Make:
        return lambda: PostgresDatabase(postgres_url)
