"""What an upgrade keeps of the tables before it changes them, and the way back that it names."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import pytest
import small_yard
from small_yard import Made

from modelyard.backup import making, restoring, upgrading
from modelyard.db import copies, migrations

pytestmark = pytest.mark.anyio

NEXT = """
from alembic import op

revision = "0004"
down_revision = "0003"

def upgrade():
    op.execute("DELETE FROM files")
    op.rename_table("accounts", "people")
"""


@pytest.fixture
def made(database_url: str, tmp_path: Path) -> Made:
    """A yard on each database in turn."""
    made = asyncio.run(small_yard.make(database_url, tmp_path / "data"))
    copies.run(database_url, (upgrading.SET_VERSION, {"version": "0.1.0"}))
    return made


def newer(tmp_path: Path) -> Path:
    """The revisions of a Modelyard that is to come."""
    folder = tmp_path / "scripts"
    shutil.copytree(migrations.SCRIPTS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "0004_people.py").write_text(NEXT)
    return folder


def rows_alone(made: Made, now: int = small_yard.NOW) -> making.Source:
    return making.Source(database_url=made.database_url, data=made.data, version="0.2.0", clock=lambda: now)


async def test_the_way_back_that_an_upgrade_names_leads_back(made: Made, tmp_path: Path) -> None:
    before = {table: made.rows(table) for table in ("accounts", "files", "models", "tokens", "meta")}
    blobs = made.blobs()
    said: list[str] = []

    done = await migrations.migrate(
        made.database_url, upgrading.before(rows_alone(made), said.append), said.append, scripts=newer(tmp_path)
    )

    assert done.backup is not None
    assert done.backup.parent == made.data / "backups"
    assert done.backup.stat().st_mode & 0o777 == 0o600
    way, doing = said
    assert f"yard down, then pip install modelyard==0.1.0, then yard restore --replace {done.backup}" in way
    assert doing.endswith(f"from revision 0003 to 0004; a backup from before is {done.backup}")
    assert made.rows("files") == []
    with pytest.raises(migrations.NewerSchemaError, match="at revision 0004") as caught:
        await upgrading.bring_up_to_date(rows_alone(made), said.append)
    assert str(caught.value.hint).endswith(f"yard restore --replace {done.backup}")

    backup = restoring.check(done.backup)
    restored = await restoring.restore(backup, made.database_url, made.data, name="x", replace=True)

    assert backup.header.holds == "rows"
    assert migrations.read_revision(made.database_url) == restored.revision == "0003"
    mark = {"key": "restored", "value": "x"}
    assert {table: [row for row in made.rows(table) if row != mark] for table in before} == before
    assert made.blobs() == blobs


async def test_rows_alone_are_not_restored_where_their_files_are_not(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "rows.tar"
    await making.write(rows_alone(made), path)
    (tmp_path / "other").mkdir()
    with pytest.raises(restoring.errors.Conflict, match="holds rows alone, and there are no files in"):
        await restoring.restore(
            restoring.check(path), f"sqlite:///{tmp_path / 'other.db'}", tmp_path / "other", name="x"
        )


async def test_the_last_five_are_kept_and_nothing_else_is_touched(sqlite_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "backups"
    folder.mkdir(parents=True)
    (folder / "mine.tar").touch()
    (folder / "before-the-party.tar").touch()
    made = Made(sqlite_url, tmp_path / "data")

    paths = []
    for minute in (0, 0, 1, 2, 3, 4, 5):
        source = rows_alone(made, small_yard.NOW + minute * 60_000_000)
        paths.append(await upgrading.before(source, lambda text: None)("0003"))

    assert len(set(paths)) == 7
    assert upgrading.kept(folder) == paths[-5:]
    paths.append(await upgrading.before(rows_alone(made), lambda text: None, 6)("0003"))
    assert upgrading.kept(folder) == paths[-6:]
    assert all(re.fullmatch(r"before-0003-\d{8}-\d{6}(-2)?\.tar", path.name) for path in paths)
    assert (folder / "mine.tar").exists()
    assert (folder / "before-the-party.tar").exists()


async def test_without_a_backup_nothing_is_changed(made: Made, tmp_path: Path) -> None:
    (made.data / "backups").write_text("in the way")

    with pytest.raises(migrations.MigrationError, match="the backup before the upgrade cannot be written"):
        await migrations.migrate(
            made.database_url, upgrading.before(rows_alone(made), lambda text: None), scripts=newer(tmp_path)
        )

    assert migrations.read_revision(made.database_url) == "0003"
