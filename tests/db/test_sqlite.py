"""What only a database in a file can meet: a killed process, a full disk, a file that is none."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard import errors
from modelyard.db import threads
from modelyard.db.base import DatabaseError, Statement, Tx
from modelyard.db.sqlite import SqliteDatabase

pytestmark = pytest.mark.anyio

PUT = Statement("put", "INSERT INTO meta (key, value) VALUES (:key, :value)")
COUNT = Statement("count", "SELECT COUNT(*) AS number FROM meta")
LIST = Statement("list", "SELECT key, value FROM meta ORDER BY key")

# Prints the key of each write after it was awaited, and never ends.
WRITE_FOR_EVER = """
import asyncio, itertools, sys
from pathlib import Path
from modelyard.db.base import Statement
from modelyard.db.sqlite import SqliteDatabase

PUT = Statement("put", "INSERT INTO meta (key, value) VALUES (:key, :value)")

async def write(database, task):
    for number in itertools.count():
        await database.run(PUT, {"key": f"{task}-{number}", "value": "x" * 300})
        sys.stdout.write(f"{task}-{number}\\n")

async def main():
    database = SqliteDatabase(Path(sys.argv[1]), sys.argv[2])
    await database.open()
    await asyncio.gather(*(write(database, task) for task in range(16)))

asyncio.run(main())
"""


@pytest.fixture
def path(sqlite_url: str) -> Path:
    return Path(sqlite_url.removeprefix("sqlite:///"))


@pytest.mark.parametrize("fsync", ["power", "process"])
async def test_every_awaited_write_survives_the_death_of_the_process(path: Path, fsync: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-u", "-c", WRITE_FOR_EVER, str(path), fsync], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    awaited = [child.stdout.readline().strip() for _ in range(400)]
    child.send_signal(signal.SIGKILL)
    awaited += [line.strip() for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    child.wait()

    database = SqliteDatabase(path)
    await database.open()
    kept = {row["key"] for row in await database.all(LIST)}
    await database.close()

    assert len(awaited) >= 400
    assert set(awaited) <= kept


@pytest.mark.parametrize(("fsync", "level"), [("power", 2), ("process", 1)])
async def test_a_commit_is_as_safe_as_was_asked_for(path: Path, fsync: str, level: int) -> None:
    database = SqliteDatabase(path, fsync)  # type: ignore[arg-type]
    await database.open()

    row = await database.transaction(lambda tx: tx.one(Statement("synchronous", "PRAGMA synchronous")))
    mode = await database.transaction(lambda tx: tx.one(Statement("journal_mode", "PRAGMA journal_mode")))
    await database.close()

    assert row == {"synchronous": level}
    assert mode == {"journal_mode": "wal"}


async def test_a_full_disk_is_told_and_is_no_end(path: Path) -> None:
    database = SqliteDatabase(path)
    await database.open()
    pages = await database.transaction(lambda tx: tx.one(Statement("pages", "PRAGMA page_count")))
    assert pages is not None
    limit = Statement("limit", f"PRAGMA max_page_count = {pages['page_count'] + 4}")
    await database.transaction(lambda tx: tx.one(limit))
    big = {"value": "x" * 100_000}

    with pytest.raises(errors.OutOfSpace, match="the disk is full"):
        await database.run(PUT, {"key": "big", **big})

    group = await asyncio.gather(
        database.run(PUT, {"key": "small", "value": ""}),
        database.run(PUT, {"key": "big", **big}),
        database.run(PUT, {"key": "other", "value": ""}),
        database.transaction(lambda tx: _swallow(tx, big)),
        return_exceptions=True,
    )
    assert await database.run(PUT, {"key": "later", "value": ""}) == 1
    kept = {row["key"] for row in await database.all(LIST)}
    await database.close()

    told_done = {
        key for key, outcome in zip(["small", "big", "other", "swallowed"], group, strict=True) if outcome == 1
    }
    assert kept == {"later", *told_done}
    assert any(isinstance(outcome, errors.OutOfSpace) for outcome in group)


def _swallow(tx: Tx, big: dict[str, str]) -> int:
    try:
        tx.run(PUT, {"key": "big too", **big})
    except errors.OutOfSpace:
        return tx.run(PUT, {"key": "swallowed", "value": ""})
    return 0


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "yard.db"
    path.write_bytes(b"this is no database at all " * 100)

    with pytest.raises(DatabaseError, match=r"yard\.db cannot be opened: file is not a database"):
        await SqliteDatabase(path).open()


async def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match=r"absent/yard\.db cannot be opened"):
        await SqliteDatabase(tmp_path / "absent" / "yard.db").open()


async def test_a_path_may_hold_what_a_url_could_not(path: Path, tmp_path: Path) -> None:
    odd = tmp_path / "50% off? #1" / "yärd & co.db"
    odd.parent.mkdir()
    shutil.copyfile(path, odd)
    database = SqliteDatabase(odd)
    await database.open()
    await database.run(PUT, {"key": "a", "value": ""})

    assert await database.one(COUNT) == {"number": 1}
    await database.close()
    assert sqlite3.connect(odd).execute("SELECT COUNT(*) FROM meta").fetchone() == (1,)


async def test_a_write_handed_in_as_a_read_is_refused(path: Path) -> None:
    database = SqliteDatabase(path)
    await database.open()

    with pytest.raises(DatabaseError, match="attempt to write a readonly database"):
        await database.one(PUT, key="a", value="")

    await database.close()


async def test_who_writes_too_much_waits_for_room(path: Path) -> None:
    database = SqliteDatabase(path, "process")
    await database.open()
    waiting = [database.run_nowait(PUT, {"key": str(number), "value": ""}) for number in range(threads.WAITING_LIMIT)]

    one_more = asyncio.create_task(database.run(PUT, {"key": "one more", "value": ""}))
    await asyncio.sleep(0)
    done_before = one_more.done()
    await asyncio.gather(*waiting, one_more)
    row = await database.one(COUNT)
    await database.close()

    assert not done_before
    assert row == {"number": threads.WAITING_LIMIT + 1}


async def test_who_waits_for_room_is_told_when_the_database_closes(path: Path) -> None:
    database = SqliteDatabase(path, "process")
    await database.open()
    pending = [database.run_nowait(PUT, {"key": str(number), "value": ""}) for number in range(threads.WAITING_LIMIT)]
    one_more = asyncio.create_task(database.run(PUT, {"key": "one more", "value": ""}))
    await asyncio.sleep(0)

    await database.close()

    with pytest.raises(errors.Unavailable):
        await asyncio.wait_for(one_more, 10)
    assert all(write.done() for write in pending)


def test_the_database_loads_no_migration_library(path: Path) -> None:
    code = "import sys, modelyard.db.sqlite, modelyard.db.migrations; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not {"sqlalchemy", "alembic", "psycopg"} & set(loaded)


async def test_one_that_fails_at_being_told_keeps_nobody_else_from_it(path: Path) -> None:
    database = SqliteDatabase(path)
    await database.open()
    seen: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context["exception"]))

    def fail(count: int, error: BaseException | None) -> None:
        raise RuntimeError("told")

    database.run_then(PUT, {"key": "a", "value": ""}, fail)
    assert await database.run_nowait(PUT, {"key": "b", "value": ""}) == 1
    assert [str(error) for error in seen] == ["told"]
    assert await database.run(PUT, {"key": "c", "value": ""}) == 1
    await database.close()
