"""Databases brought to the newest revision, kept as they were when that fails, refused when they are newer."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from modelyard import errors
from modelyard.db import migrations
from modelyard.db.base import DatabaseError

pytestmark = pytest.mark.anyio

ADD_COLUMN = """
from alembic import op
import sqlalchemy as sa

revision = "0004"
down_revision = "0003"

def upgrade():
    op.add_column("meta", sa.Column("note", sa.Text()))
    {more}
"""
FAIL = 'op.execute("INSERT INTO nothing_of_that_name VALUES (1)")'
HANG = "import time; print('half', flush=True); time.sleep(60)"


def scripts_with(tmp_path: Path, more: str = "") -> Path:
    """The revisions there are, and one more."""
    folder = tmp_path / "100% scripts"
    shutil.copytree(migrations.SCRIPTS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "0004_note.py").write_text(ADD_COLUMN.format(more=more or "pass"))
    return folder


def columns(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[1] for row in connection.execute("PRAGMA table_info(meta)")]


def put(path: Path, key: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO meta (key, value) VALUES (?, '')", (key,))


def keys(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT key FROM meta")]


async def test_a_fresh_file_gets_its_tables_and_no_backup(tmp_path: Path) -> None:
    url, said = f"sqlite:///{tmp_path / 'yard.db'}", []

    first = await migrations.migrate(url, never, said.append)
    second = await migrations.migrate(url, never, said.append)

    newest = migrations.revisions()[-1]
    assert first == migrations.Migration(before=None, after=newest)
    assert second == migrations.Migration(before=newest, after=newest)
    assert migrations.read_revision(url) == newest
    assert said == []


async def never(revision: str) -> Path:
    raise AssertionError(f"nothing was to be changed at {revision}")


async def test_tables_are_backed_up_before_they_are_changed(tmp_path: Path, sqlite_url: str) -> None:
    path = migrations.sqlite_path(sqlite_url)
    assert path is not None
    put(path, "kept")
    said: list[str] = []
    seen: list[tuple[str, list[str]]] = []

    async def back_up(revision: str) -> Path:
        seen.append((revision, columns(path)))
        return tmp_path / "backup"

    done = await migrations.migrate(sqlite_url, back_up, said.append, scripts=scripts_with(tmp_path))

    assert seen == [("0003", ["key", "value"])]
    assert done == migrations.Migration(before="0003", after="0004", backup=tmp_path / "backup")
    assert columns(path) == ["key", "value", "note"]
    assert keys(path) == ["kept"]
    assert said == [f"migrating the database from revision 0003 to 0004; a backup from before is {done.backup}"]


async def test_a_backup_that_cannot_be_written_stops_it(tmp_path: Path, sqlite_url: str) -> None:
    async def back_up(revision: str) -> Path:
        raise migrations.MigrationError("the disk is full")

    with pytest.raises(migrations.MigrationError, match="the disk is full"):
        await migrations.migrate(sqlite_url, back_up, scripts=scripts_with(tmp_path))

    path = migrations.sqlite_path(sqlite_url)
    assert path is not None
    assert columns(path) == ["key", "value"]


async def test_tables_are_brought_to_a_revision_that_is_asked_for(tmp_path: Path, database_url: str) -> None:
    scripts = scripts_with(tmp_path)

    stayed = await migrations.migrate(database_url, scripts=scripts, to="0003")
    moved = await migrations.migrate(database_url, scripts=scripts)

    assert (stayed.after, moved.before, moved.after) == ("0003", "0003", "0004")


async def test_a_migration_that_fails_leaves_everything_as_it_was(tmp_path: Path, database_url: str) -> None:
    with pytest.raises(migrations.MigrationError, match="nothing_of_that_name") as caught:
        await migrations.migrate(database_url, scripts=scripts_with(tmp_path, FAIL))

    assert caught.value.hint is not None
    assert "the database is unchanged" in caught.value.hint
    assert migrations.read_revision(database_url) == "0003"
    path = migrations.sqlite_path(database_url)
    if path is not None:
        assert columns(path) == ["key", "value"]


async def test_a_migration_that_is_killed_leaves_everything_as_it_was(tmp_path: Path, sqlite_url: str) -> None:
    scripts = scripts_with(tmp_path, HANG)
    command = [sys.executable, "-m", "modelyard.db.migrations", sqlite_url, str(scripts)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"half\n"
        child.kill()

    path = migrations.sqlite_path(sqlite_url)
    assert path is not None
    assert columns(path) == ["key", "value"]
    assert migrations.read_revision(sqlite_url) == "0003"


async def test_a_newer_database_is_refused(tmp_path: Path, database_url: str) -> None:
    await migrations.migrate(database_url, scripts=scripts_with(tmp_path))

    with pytest.raises(migrations.NewerSchemaError) as caught:
        await migrations.migrate(database_url)

    assert "at revision 0004" in caught.value.detail
    assert "knows up to 0003" in caught.value.detail
    assert caught.value.hint is not None


async def test_two_yards_migrate_one_server_one_after_the_other(tmp_path: Path, postgres_url: str) -> None:
    scripts = scripts_with(tmp_path)

    done = await asyncio.gather(*(migrations.migrate(postgres_url, scripts=scripts) for _ in range(3)))

    assert {each.after for each in done} == {"0004"}
    assert migrations.read_revision(postgres_url) == "0004"


async def test_a_database_with_tables_of_others_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE recipes (id INTEGER)")

    with pytest.raises(DatabaseError, match=r"other\.db holds tables that are not Modelyard's"):
        await migrations.migrate(f"sqlite:///{tmp_path / 'other.db'}")


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "yard.db").write_text("not a database, by far " * 100)

    with pytest.raises(DatabaseError, match="cannot be read as a database"):
        await migrations.migrate(f"sqlite:///{tmp_path / 'yard.db'}")


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite:///", "yard.db", ""])
def test_a_url_of_another_kind_is_named(url: str) -> None:
    with pytest.raises(errors.UsageError, match="database: a URL that begins with"):
        migrations.read_revision(url)


def test_both_databases_have_the_same_tables(sqlite_url: str, postgres_url: str) -> None:
    path = migrations.sqlite_path(sqlite_url)
    assert path is not None
    with closing(sqlite3.connect(path)) as lite:
        of_sqlite = set(
            lite.execute(
                "SELECT m.name, c.name, c.[notnull] FROM sqlite_master m, pragma_table_info(m.name) c "
                "WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'"
            )
        )
        indexes_of_sqlite = {row[0] for row in lite.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    with psycopg.connect(postgres_url) as server:
        of_postgres = set(
            server.execute(
                "SELECT table_name, column_name, CASE is_nullable WHEN 'NO' THEN 1 ELSE 0 END "
                "FROM information_schema.columns WHERE table_schema = 'public'"
            )
        )
        indexes_of_postgres = {row[0] for row in server.execute("SELECT indexname FROM pg_indexes")}

    assert of_sqlite == of_postgres
    made = {name for name in indexes_of_sqlite if not name.startswith("sqlite_")}
    assert "predictions_open" in made
    assert made <= indexes_of_postgres
