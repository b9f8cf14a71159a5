"""What only a database server can do: stop, come back, be shared, be absent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import postgres_server
import psycopg
import pytest

from modelyard.db import migrations
from modelyard.db.base import Database, DatabaseUnavailable, Statement
from modelyard.db.postgres import PostgresDatabase

pytestmark = pytest.mark.anyio

PUT = Statement("put", "INSERT INTO meta (key, value) VALUES (:key, :value)")
COUNT = Statement("count", "SELECT COUNT(*) AS number FROM meta")
CLAIM = Statement(
    "claim",
    """DELETE FROM meta WHERE key = (SELECT key FROM meta ORDER BY key FOR UPDATE SKIP LOCKED LIMIT 1)
    RETURNING key""",
)
# Waits until each is gone.
KILL_OTHERS = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'modelyard'"
PREPARED = Statement(
    "prepared", "SELECT COUNT(*) AS number FROM pg_prepared_statements WHERE statement LIKE 'INSERT INTO nodes%'"
)
BEAT = Statement(
    "beat", "INSERT INTO nodes (id, address, epoch, started_at, heartbeat_at) VALUES (:id, '', :epoch, :at, :at)"
)


@pytest.fixture
async def database(anyio_backend: str, postgres_url: str) -> AsyncIterator[Database]:
    """Open, migrated and empty."""
    opened = PostgresDatabase(postgres_url)
    await opened.open()
    yield opened
    await opened.close()


async def test_what_lost_its_connections_while_idle_makes_new_ones(database: Database, postgres_url: str) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    database.listen("topic", told.put_nowait)
    await database.run(PUT, {"key": "a", "value": ""})
    await asyncio.gather(*(database.one(COUNT) for _ in range(8)))

    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute(KILL_OTHERS)

    assert await database.run(PUT, {"key": "b", "value": ""}) == 1
    assert await asyncio.gather(*(database.one(COUNT) for _ in range(8))) == [{"number": 2}] * 8
    assert await _told_again(database, told) == "back"


async def _told_again(database: Database, told: asyncio.Queue[str]) -> str:
    """What is notified while nobody is connected is lost, so it is said until it is heard."""
    while True:
        await database.notify("topic", "back")
        try:
            return await asyncio.wait_for(told.get(), 0.1)
        except TimeoutError:
            continue


async def test_a_connection_lost_amid_a_group_is_told_and_is_no_end(database: Database, postgres_url: str) -> None:
    def cut_off(tx: object) -> None:
        with psycopg.connect(postgres_url, autocommit=True) as other:
            other.execute(KILL_OTHERS)

    outcomes = await asyncio.gather(
        database.run(PUT, {"key": "a", "value": ""}),
        database.transaction(cut_off),
        database.run(PUT, {"key": "b", "value": ""}),
        return_exceptions=True,
    )

    assert all(isinstance(outcome, DatabaseUnavailable) for outcome in outcomes)
    assert await database.one(COUNT) == {"number": 0}
    assert await database.run(PUT, {"key": "a", "value": ""}) == 1


async def test_a_server_that_restarts_is_found_again(anyio_backend: str) -> None:
    programs = postgres_server.find_programs()
    if programs is None:
        pytest.skip(postgres_server.HOW_TO_HAVE_IT)
    with postgres_server.make_server(programs) as server:
        database = PostgresDatabase(server.url("postgres"))
        with server.running():
            await migrations.migrate(server.url("postgres"))
            await database.open()
            await database.run(PUT, {"key": "a", "value": ""})
        with pytest.raises(DatabaseUnavailable):
            await database.run(PUT, {"key": "b", "value": ""})
        with pytest.raises(DatabaseUnavailable):
            await database.one(COUNT)
        with server.running():
            assert await database.run(PUT, {"key": "b", "value": ""}) == 1
            assert await database.one(COUNT) == {"number": 2}
            await database.close()


async def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    database = PostgresDatabase(f"postgresql://yard:hunter2@/yard?host={tmp_path}")

    with pytest.raises(DatabaseUnavailable, match="no connection to PostgreSQL") as caught:
        await database.open()

    assert "hunter2" not in str(caught.value)
    assert caught.value.hint is not None


async def test_two_processes_claim_each_row_once(database: Database, postgres_url: str) -> None:
    second = PostgresDatabase(postgres_url)
    await second.open()
    await asyncio.gather(*(database.run(PUT, {"key": f"{number:03}", "value": ""}) for number in range(200)))

    claimed = await asyncio.gather(
        *(each.transaction(lambda tx: tx.one(CLAIM)) for _ in range(120) for each in (database, second))
    )
    await second.close()

    keys = [row["key"] for row in claimed if row is not None]
    assert sorted(keys) == [f"{number:03}" for number in range(200)]


async def test_what_one_process_notifies_another_hears(database: Database, postgres_url: str) -> None:
    second = PostgresDatabase(postgres_url)
    await second.open()
    told: asyncio.Queue[str] = asyncio.Queue()
    second.listen("topic", told.put_nowait)

    await database.notify("topic", "an id")

    assert await asyncio.wait_for(told.get(), 10) == "an id"
    await second.close()


async def test_a_statement_is_prepared_once_whatever_its_numbers(database: Database) -> None:
    for number in (1, 70_000, 2**40):
        for again in range(3):
            await database.run(BEAT, {"id": f"{number}-{again}", "epoch": number, "at": number})

    assert await database.transaction(lambda tx: tx.one(PREPARED)) == {"number": 1}
