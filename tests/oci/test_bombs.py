"""Layers that grow when they are unpacked: refused before they cost the memory or the disk of whoever unpacks them."""

from __future__ import annotations

import gzip
import io
import resource
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import small_disks

from modelyard import errors
from modelyard.oci.unpack import UnpackError, unpack

MIB = 1024 * 1024


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with small_disks.mounted(tmp_path / "disk", "8m") as disk:
        yield disk


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def zeros(path: Path, head: bytes, size: int) -> Path:
    """A compressed archive of one member with that many zeros."""
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(head)
        for _ in range(size // MIB):
            file.write(bytes(MIB))
        file.write(bytes(1024))
    assert path.stat().st_size < size // 500
    return path


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_name_that_fills_the_memory_is_refused_before_it_is_read(tmp_path: Path, kind: bytes) -> None:
    path = zeros(tmp_path / "name.tar.gz", header("././@LongLink", 512 * MIB, kind), 512 * MIB)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnpackError, match="a name of 536870912 bytes"):
        unpack(path, tmp_path / "out")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_a_list_of_holes_without_end_is_refused(tmp_path: Path) -> None:
    block = bytearray(header("holes", 0, tarfile.GNUTYPE_SPARSE))
    path = tmp_path / "holes.tar"
    path.write_bytes(bytes(block) + b"\1" * 512 * 1000)
    with pytest.raises(UnpackError, match="holes"):
        unpack(path, tmp_path / "out")


def test_more_members_than_any_model_has_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "many.tar"
    with tarfile.open(path, "w") as archive:
        for number in range(101):
            archive.addfile(tarfile.TarInfo(f"src/{number}"), io.BytesIO())
    unpack(path, tmp_path / "all", most_members=101)
    with pytest.raises(UnpackError, match="more members"):
        unpack(path, tmp_path / "out", most_members=100)
    # Those that nobody takes cost time, too.
    with pytest.raises(UnpackError, match="more members"):
        unpack(path, tmp_path / "none", below="other", most_members=100)


def test_a_file_that_grows_beyond_the_room_ends_there(tmp_path: Path) -> None:
    path = zeros(tmp_path / "bomb.tar.gz", header("src/zeros", 1024 * MIB), 1024 * MIB)
    written = tmp_path / "out" / "zeros"

    def has_room() -> bool:
        return not written.exists() or written.stat().st_size < 100 * MIB

    with pytest.raises(errors.OutOfSpace, match="not enough room"):
        unpack(path, tmp_path / "out", below="src", has_room=has_room)
    assert written.stat().st_size < 200 * MIB


def test_links_that_multiply_a_file_end_where_there_is_no_room(tmp_path: Path) -> None:
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as archive:
        first = tarfile.TarInfo("first")
        first.size = 16 * MIB
        archive.addfile(first, io.BytesIO(bytes(first.size)))
        for number in range(40):
            link = tarfile.TarInfo(str(number))
            link.type, link.linkname = tarfile.LNKTYPE, "first"
            archive.addfile(link)
    asked: list[int] = []

    def has_room() -> bool:
        asked.append(len(list((tmp_path / "out").iterdir())))
        return len(asked) < 3

    with pytest.raises(errors.OutOfSpace):
        unpack(path, tmp_path / "out", has_room=has_room)
    assert asked[-1] < 20


@small_disks.needs_root
def test_a_disk_that_is_full_is_said_in_a_sentence(tmp_path: Path, small: Path) -> None:
    path = zeros(tmp_path / "bomb.tar.gz", header("zeros", 64 * MIB), 64 * MIB)
    with pytest.raises(errors.OutOfSpace, match="not enough room on the disk") as caught:
        unpack(path, small / "out")
    assert "yard prune" in str(caught.value.hint)
