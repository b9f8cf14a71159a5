"""Backups put back: all of it, into either kind of database, or nothing at all."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import small_yard
from small_yard import Made, number

from modelyard import errors
from modelyard.backup import archive, making, restoring
from modelyard.backup.archive import DamagedBackup, NewerBackup, Writer
from modelyard.db import copies, migrations
from modelyard.db.base import DatabaseError

pytestmark = pytest.mark.anyio

# As rows leave one process, or one machine, with it.
STAYS = sorted({"accounts", "tokens", "models", "files", "manifests", "tags", "repository_blobs", "webhooks"})


@pytest.fixture(params=["sqlite", "postgres"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    """A yard on each database in turn."""
    url = str(request.getfixturevalue(f"{request.param}_url"))
    return asyncio.run(small_yard.make(url, tmp_path / "data"))


@pytest.fixture
def lite(sqlite_url: str, tmp_path: Path) -> Made:
    """A yard on SQLite."""
    return asyncio.run(small_yard.make(sqlite_url, tmp_path / "data"))


@pytest.fixture(params=["sqlite", "postgres"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    """Where to restore to: nothing is there."""
    data = tmp_path / "other"
    data.mkdir()
    if request.param == "sqlite":
        return Made(f"sqlite:///{data / 'yard.db'}", data)
    return Made(str(request.getfixturevalue("unmade_postgres_url")), data)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


async def test_all_is_as_it_was_and_what_had_not_ended_waits_again(made: Made, other: Made, tmp_path: Path) -> None:
    (made.data / "secret.key").write_bytes(b"k" * 32)
    backup = restoring.check(await small_yard.write(made, tmp_path / "yard.tar"))

    done = await restoring.restore(backup, other.database_url, other.data, name="x")

    assert done == restoring.Restored(revision=migrations.revisions()[-1], aside=None, schema=None)
    for table in STAYS:
        assert other.rows(table) == made.rows(table), table
    assert other.blobs() == made.blobs()
    assert len(other.blobs()) == 3
    assert (other.data / "secret.key").read_bytes() == b"k" * 32
    assert (other.data / "secret.key").stat().st_mode & 0o777 == 0o600
    assert backup.end.lacks == 0
    assert backup.contents.rows["predictions"] == 4
    assert {path.name for path in other.data.iterdir()} <= {"yard.db", "blobs", "journals", "secret.key"}
    before = {row["id"]: row for row in made.rows("predictions")}
    after = {row["id"]: row for row in other.rows("predictions")}
    assert [after[number(count)] == before[number(count)] for count in (1, 2, 3, 4)] == [True, True, True, False]
    anew = {"status": "starting", "started_at": None, "lease_node": None, "lease_epoch": None, "instance_id": None}
    assert after[number(4)] == before[number(4)] | anew | {"attempts": 0, "journal": 0}
    # The long log of the one that ended is there; the one that starts anew has said nothing yet.
    assert [path.name for path in (other.data / "journals").rglob("*.journal")] == [f"{number(2)}.journal"]


async def test_a_blob_that_is_deleted_while_a_backup_is_made_is_in_it(lite: Made, tmp_path: Path) -> None:
    source = lite.source
    pieces = making.make(source)
    written = [await anext(pieces)]
    assert source.blobs is not None
    for key in lite.blobs():
        await source.blobs.delete(key)
    assert lite.blobs() == {}
    written += [piece async for piece in pieces]
    (tmp_path / "yard.tar").write_bytes(b"".join(written))

    backup = restoring.check(tmp_path / "yard.tar")

    assert (backup.contents.blobs, backup.end.lacks) == (3, 0)
    assert not (lite.data / "blobs" / ".held").exists()


async def test_a_file_that_was_gone_before_is_counted_and_named(lite: Made, tmp_path: Path) -> None:
    shutil.rmtree(lite.data / "blobs" / "outputs")

    backup = restoring.check(await small_yard.write(lite, tmp_path / "yard.tar"))

    assert (backup.end.lacks, backup.end.missing) == (1, [f"outputs/{number(1)}/0/out put.png"])


async def test_a_backup_that_nobody_wants_to_its_end_leaves_the_yard_as_it_was(lite: Made) -> None:
    source = lite.source
    pieces = making.make(source)
    await anext(pieces)
    await pieces.aclose()  # type: ignore[attr-defined]

    assert source.blobs is not None
    key = next(iter(lite.blobs()))
    await source.blobs.delete(key)
    assert not (lite.data / "blobs" / ".held").exists()
    assert key not in lite.blobs()


async def test_what_is_there_is_moved_aside_only_when_that_is_asked_for(made: Made, tmp_path: Path) -> None:
    backup = restoring.check(await small_yard.write(made, tmp_path / "yard.tar"))
    there = made
    before = tree(there.data)
    rows = there.rows("predictions")

    with pytest.raises(restoring.Occupied, match="a backup is restored where there is nothing"):
        await restoring.restore(backup, there.database_url, there.data, name="x")
    assert tree(there.data) == before

    done = await restoring.restore(backup, there.database_url, there.data, name="x", replace=True)

    assert done.aside == there.data / "before-restore-x"
    old = {name: content for name, content in tree(done.aside).items() if not name.startswith("yard.db")}
    assert old == {name: content for name, content in before.items() if not name.startswith("yard.db")}
    if migrations.sqlite_path(there.database_url) is None:
        assert done.schema == "modelyard_before_restore_x"
        aside = copies._with_search_path(there.database_url, done.schema)
        assert Made(aside, there.data).rows("predictions") == rows
    else:
        kept = tmp_path / "yard.db.before-restore-x"
        assert Made(f"sqlite:///{kept}", there.data).rows("predictions") == rows
    assert len(there.rows("predictions")) == 4


async def test_a_database_in_the_data_folder_is_moved_aside_with_it(lite: Made, tmp_path: Path) -> None:
    backup = restoring.check(await small_yard.write(lite, tmp_path / "yard.tar"))
    data = tmp_path / "other"
    data.mkdir()
    url = f"sqlite:///{data / 'yard.db'}"
    (data / "yard.db").write_text("no database any more, which is why a backup is wanted")
    (data / "yard.db-wal").write_text("its log")

    done = await restoring.restore(backup, url, data, name="x", replace=True)

    assert done.aside is not None
    assert (done.aside / "yard.db").read_text().startswith("no database any more")
    assert (done.aside / "yard.db-wal").read_text() == "its log"
    assert len(Made(url, data).rows("predictions")) == 4


async def test_an_older_backup_is_brought_to_the_newest_tables(tmp_path: Path, other: Made) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    await migrations.migrate(url, to="0001")
    with copies.filling(url) as tables:
        tables.add("meta", ["key", "value"], [("kept", "x")])
    backup = restoring.check(await small_yard.write(Made(url, tmp_path / "data"), tmp_path / "yard.tar"))
    assert backup.header.revision == "0001"

    done = await restoring.restore(backup, other.database_url, other.data, name="x")

    assert done.revision == migrations.revisions()[-1]
    assert {"key": "kept", "value": "x"} in other.rows("meta")


def rewritten(path: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> Path:
    """A backup whose sums are right, with members that are not."""
    writer = Writer(1)
    out = []
    with path.open("rb") as file:
        reader = archive.Reader(file)
        header = {**reader.header.__class__.__dataclass_fields__}
        told = {name: getattr(reader.header, name) for name in header}
        members = [(archive.HEADER, json.dumps(told).encode())]
        members += [(member.name, member.read()) for member in reader.members()]
    for name, content in members:
        changed = change(name, content)
        if changed is not None:
            out.append(writer.whole(*changed))
    other = path.with_suffix(".changed")
    other.write_bytes(b"".join([*out, writer.end([], 0)]))
    return other


async def test_a_backup_of_newer_tables_says_which_version_is_wanted(lite: Made, tmp_path: Path) -> None:
    path = await small_yard.write(lite, tmp_path / "yard.tar")

    def newer(name: str, content: bytes) -> tuple[str, bytes]:
        told = content.replace(b'"0003"', b'"0077"').replace(b'"0.1.0"', b'"2.5.0"')
        return name, told if name == archive.HEADER else content

    with pytest.raises(NewerBackup, match=r"Modelyard 2\.5\.0, whose tables are at revision 0077") as caught:
        restoring.check(rewritten(path, newer))
    assert caught.value.hint == "restore it with Modelyard 2.5.0 or newer"


@pytest.mark.parametrize(
    "name", ["blobs/../../x", "blobs//x", "/etc/x", "rows/x", "journals/../x.journal", "x", "secret.key/x", "blobs/.x"]
)
async def test_a_member_that_could_lead_elsewhere_is_refused(lite: Made, tmp_path: Path, name: str) -> None:
    path = await small_yard.write(lite, tmp_path / "yard.tar")

    def elsewhere(found: str, content: bytes) -> tuple[str, bytes]:
        return (name if found.startswith("blobs/files") else found), content

    with pytest.raises(DamagedBackup, match="nothing that a backup holds"):
        restoring.check(rewritten(path, elsewhere))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (b'["key","value; DROP TABLE meta"]\n["a","b"]\n', "has no table 'meta' with the columns"),
        (b'["key","value"]\n["a"]\n', "rows of another length"),
        (b'["key","value"]\n[{"a":1},"b"]\n', "holds no rows"),
        (b'["key","value"]\n["a",null]\n', "could not be used"),
    ],
)
async def test_rows_that_do_not_fit_leave_everything_as_it_was(
    lite: Made, other: Made, tmp_path: Path, wrong: bytes, said: str
) -> None:
    path = await small_yard.write(lite, tmp_path / "yard.tar")
    backup = restoring.check(
        rewritten(path, lambda name, content: (name, wrong if name.startswith("rows/meta/") else content))
    )

    with pytest.raises((DamagedBackup, DatabaseError), match=said):
        await restoring.restore(backup, other.database_url, other.data, name="x")

    assert list(other.data.iterdir()) == []
    assert migrations.sqlite_path(other.database_url) or migrations.read_revision(other.database_url) is None


async def test_a_file_that_changes_between_check_and_restore_is_noticed(
    lite: Made, other: Made, tmp_path: Path
) -> None:
    path = await small_yard.write(lite, tmp_path / "yard.tar")
    backup = restoring.check(path)
    rewritten(path, lambda name, content: (name, b"another" if name.startswith("blobs/") else content)).replace(path)

    with pytest.raises(DamagedBackup, match="changed while it was restored"):
        await restoring.restore(backup, other.database_url, other.data, name="x")

    assert list(other.data.iterdir()) == []


KILLED = """
import asyncio, os, sys
from pathlib import Path
from modelyard.backup import restoring

path, url, data, left = sys.argv[1:]
left = int(left)
rename = Path.rename

def killed(self, target):
    global left
    if left == 0:
        os.kill(os.getpid(), 9)
    left -= 1
    return rename(self, target)

Path.rename = killed
asyncio.run(restoring.restore(restoring.check(Path(path)), url, Path(data), name="x", replace=True))
"""


@pytest.mark.parametrize("after", [0, 3])
async def test_a_restore_that_is_killed_between_two_files_is_undone(
    after: int, lite: Made, database_url: str, tmp_path: Path
) -> None:
    path = await small_yard.write(lite, tmp_path / "yard.tar")
    data, url = tmp_path / "there", database_url
    data.mkdir()
    if migrations.sqlite_path(url) is not None:
        url = f"sqlite:///{data / 'yard.db'}"
        shutil.copyfile(tmp_path / "yard.db", data / "yard.db")
    (data / "blobs").mkdir(parents=True, exist_ok=True)
    (data / "blobs" / "old").write_text("old")
    (data / "journals").mkdir()
    (data / "journals" / "old").write_text("old")
    before = tree(data)

    program = [sys.executable, "-c", KILLED, str(path), url, str(data), str(after)]
    killed = await asyncio.to_thread(subprocess.run, program, capture_output=True)
    assert killed.returncode == -9, killed.stderr
    assert (data / restoring.PLAN).exists()
    undone = await restoring.recover(url, data)

    assert undone
    assert tree(data) == before
    assert not await restoring.recover(url, data)


async def test_postgresql_that_a_yard_uses_is_refused(lite: Made, tmp_path: Path, postgres_url: str) -> None:
    backup = restoring.check(await small_yard.write(lite, tmp_path / "yard.tar"))
    (tmp_path / "other").mkdir()
    async with small_yard.opened(postgres_url):
        with pytest.raises(errors.Conflict, match="a yard is using this PostgreSQL database"):
            await restoring.restore(backup, postgres_url, tmp_path / "other", name="x", replace=True)
    assert list((tmp_path / "other").iterdir()) == []


async def test_a_database_of_others_is_never_moved(lite: Made, tmp_path: Path, unmade_postgres_url: str) -> None:
    backup = restoring.check(await small_yard.write(lite, tmp_path / "yard.tar"))
    with psycopg.connect(unmade_postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE recipes (id INTEGER)")
    (tmp_path / "other").mkdir()
    with pytest.raises(DatabaseError, match="tables that are not Modelyard's"):
        await restoring.restore(backup, unmade_postgres_url, tmp_path / "other", name="x", replace=True)
