from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelyard import errors, files
from modelyard.blobs.disk import DiskBlobs
from modelyard.db.base import Database, Statement
from modelyard.files import Files

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000

    def __call__(self) -> int:
        self.now += 1_000_000
        return self.now


async def pieces() -> AsyncIterator[bytes]:
    yield b"one "
    yield b"two"


async def test_a_file_is_kept_found_listed_and_deleted(db: Database, tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path / "blobs")
    noun = Files(db, blobs, Clock())
    made = await noun.create("ada", pieces(), name="notes.txt", metadata={"a": {"b": [1]}})
    assert (made.size, made.content_type, made.name) == (7, "text/plain", "notes.txt")
    assert await noun.get("ada", made.id) == await noun.find(made.id) == made
    assert await noun.get("bob", made.id) is None
    path = blobs.path(made.blob_key)
    assert path is not None
    assert path.read_bytes() == b"one two"
    assert path.suffix == ".txt"
    await noun.delete(made)
    assert await noun.find(made.id) is None
    assert not path.exists()


async def test_files_are_listed_newest_first_in_pages_without_those_that_came_inside_inputs(
    db: Database, tmp_path: Path
) -> None:
    noun = Files(db, DiskBlobs(tmp_path / "blobs"), Clock())
    made = [await noun.create("ada", b"x", name=f"{number}") for number in range(3)]
    await noun.create("ada", b"x", name="input", inline=True)
    await noun.create("bob", b"x", name="other")
    first = await noun.list("ada", limit=2)
    assert first == [made[2], made[1]]
    assert await noun.list("ada", limit=2, before=(first[-1].created_at, first[-1].id)) == [made[0]]


async def test_an_expired_file_is_not_there(db: Database, tmp_path: Path) -> None:
    clock = Clock()
    noun = Files(db, DiskBlobs(tmp_path / "blobs"), clock)
    made = await noun.create("ada", b"x", name="x")
    expire = Statement("expire", "UPDATE files SET expires_at = :at WHERE id = :id")
    await db.run(expire, {"id": made.id, "at": clock.now + 60_000_000})
    assert await noun.find(made.id) is not None
    clock.now += 60_000_000
    assert await noun.find(made.id) is None


async def test_what_the_database_refuses_leaves_no_bytes(db: Database, tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path / "blobs")
    await db.run(Statement("drop", "DROP TABLE files"))
    with pytest.raises(errors.ModelyardError):
        await Files(db, blobs, Clock()).create("ada", b"x", name="x")
    assert not [path for path in (tmp_path / "blobs").rglob("file*") if path.is_file()]


async def test_a_signature_is_of_one_owner_file_and_time() -> None:
    good = files.signature("whsec_x", "ada", "f", 5)
    assert files.verify("whsec_x", "ada", "f", 5, good)
    assert not files.verify("whsec_y", "ada", "f", 5, good)
    assert not files.verify("whsec_x", "bob", "f", 5, good)
    assert not files.verify("whsec_x", "ada", "g", 5, good)
    assert not files.verify("whsec_x", "ada", "f", 6, good)
    assert not files.verify("whsec_x", "ada", "f", 5, "é")
