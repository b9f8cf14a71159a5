"""Every blob store keeps the same promises; and what only the disk can do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from blobs_suite import CONTENT, BlobsSuite, read, stat_of

from modelyard.blobs.base import Blobs
from modelyard.blobs.disk import UNFINISHED, DiskBlobs

FILL = """
import asyncio, resource, signal, sys
from pathlib import Path
from modelyard import errors
from modelyard.blobs.disk import DiskBlobs

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
try:
    asyncio.run(DiskBlobs(Path(sys.argv[1])).put("files/a", bytes(1_000_000)))
except errors.OutOfSpace as error:
    print(error.detail)
"""


class TestDisk(BlobsSuite):
    @pytest.fixture(params=["power", "process"])
    def blobs(self, request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
        return DiskBlobs(tmp_path / "blobs", request.param)


@pytest.fixture
def disk(tmp_path: Path) -> DiskBlobs:
    return DiskBlobs(tmp_path / "blobs")


@pytest.fixture
def other_filesystem() -> Iterator[Path]:
    """A folder on memory, if the machine has one that is not where temporary folders are."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == Path("/tmp").stat().st_dev:
        pytest.skip("there is no second file system to move a file from: a Linux machine has /dev/shm")
    folder = memory / f"yard-{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.anyio
async def test_a_path_is_the_file_with_the_bytes(disk: DiskBlobs) -> None:
    await disk.put("files/a", b"x")

    path = disk.path("files/a")

    assert path is not None
    assert path.read_bytes() == b"x"
    assert disk.path("files/b") is None
    assert disk.path("files") is None


@pytest.mark.anyio
async def test_a_file_of_another_file_system_is_moved_too(disk: DiskBlobs, other_filesystem: Path) -> None:
    source = other_filesystem / "source"
    source.write_bytes(CONTENT)

    assert await disk.put("files/a", source, move=True) == stat_of("files/a", CONTENT)

    assert await read(disk, "files/a") == CONTENT
    assert not source.exists()


@pytest.mark.anyio
async def test_nothing_unfinished_and_no_empty_folder_stays(disk: DiskBlobs, tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await disk.put("outputs/a/0/name", broken())
    await disk.put("outputs/a/0/name", b"x")
    await disk.delete("outputs/a/0/name")

    assert [path.name for path in (tmp_path / "blobs").rglob("*")] == [UNFINISHED]


def test_what_a_killed_process_left_is_discarded(disk: DiskBlobs, tmp_path: Path) -> None:
    (tmp_path / "blobs" / UNFINISHED / "half").write_bytes(b"x")
    (tmp_path / "blobs" / UNFINISHED / "deleted" / "deep").mkdir(parents=True)

    disk.discard_unfinished()

    assert not list((tmp_path / "blobs" / UNFINISHED).iterdir())


def test_how_much_is_free_is_a_fraction(disk: DiskBlobs) -> None:
    assert 0 < disk.free_fraction() < 1


def test_a_disk_without_room_is_told_apart(tmp_path: Path) -> None:
    told = subprocess.run([sys.executable, "-c", FILL, str(tmp_path)], capture_output=True, text=True, check=True)

    assert told.stdout == "the disk is full\n"
    assert [path.name for path in tmp_path.rglob("*")] == [UNFINISHED]


@pytest.mark.anyio
async def test_a_missing_source_is_the_callers_affair(disk: DiskBlobs, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await disk.put("files/a", tmp_path / "absent")
    with pytest.raises(FileNotFoundError):
        await disk.put("files/a", tmp_path / "absent", move=True)
