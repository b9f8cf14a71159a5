"""Layers are made the same everywhere, and nothing in one can reach out of the folder that it is unpacked into."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import time
from pathlib import Path

import pytest

from modelyard.oci import manifest as oci
from modelyard.oci.layers import Layer, LayerError, Member, file_layer, write_layer
from modelyard.oci.unpack import UnpackError, unpack


def project(folder: Path) -> list[Member]:
    (folder / "sub").mkdir(parents=True)
    (folder / "run.py").write_text("print('hello')\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o750)
    (folder / "sub" / "ünïcode and blanks.txt").write_text("x" * 3000)
    (folder / "sub" / ("long" * 40)).write_text("")
    (folder / "link.py").symlink_to("run.py")
    return [Member(name=f"src/{path.relative_to(folder)}", path=path) for path in folder.rglob("*")]


def content(layer: Layer) -> bytes:
    return b"".join(layer.chunks())


def test_the_same_files_give_the_same_layer_in_another_folder_at_another_time(tmp_path: Path) -> None:
    first = write_layer(project(tmp_path / "one"), tmp_path / "a.tar.gz")
    members = project(tmp_path / "two" / "deeper")
    for member in members:
        os.utime(member.path, (1, 1), follow_symlinks=False)
    second = write_layer(reversed(members), tmp_path / "b.tar.gz")
    assert first.descriptor == second.descriptor
    assert first.diff_id == second.diff_id
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()


def test_digest_size_and_diff_id_are_those_of_the_bytes(tmp_path: Path) -> None:
    layer = write_layer(project(tmp_path / "p"), tmp_path / "a.tar.gz")
    data = content(layer)
    assert len(data) == layer.descriptor.size
    assert oci.digest_of(data) == layer.descriptor.digest
    assert oci.digest_of(gzip.decompress(data)) == layer.diff_id


def test_what_was_packed_comes_out_again(tmp_path: Path) -> None:
    write_layer(project(tmp_path / "p"), tmp_path / "a.tar.gz")
    unpack(tmp_path / "a.tar.gz", tmp_path / "out", below="src")
    assert (tmp_path / "out" / "run.py").read_text() == "print('hello')\n"
    assert (tmp_path / "out" / "sub" / "ünïcode and blanks.txt").stat().st_size == 3000
    assert os.access(tmp_path / "out" / "run.sh", os.X_OK)
    assert not os.access(tmp_path / "out" / "run.py", os.X_OK)
    assert (tmp_path / "out" / "link.py").readlink() == Path("run.py")


@pytest.mark.parametrize("size", [0, 1, 512, 9727, 9728, 9729, 2 * 1024 * 1024 + 5])
def test_a_large_file_is_a_layer_without_being_written_twice(tmp_path: Path, size: int) -> None:
    (tmp_path / "weights.bin").write_bytes(os.urandom(size))
    layer = file_layer(Member(name="src/weights.bin", path=tmp_path / "weights.bin"))
    data = content(layer)
    assert oci.digest_of(data) == layer.descriptor.digest == layer.diff_id
    assert len(data) == layer.descriptor.size
    for start in (0, 1, 511, 512, 700, max(0, size), len(data) - 3, len(data)):
        assert b"".join(layer.chunks(start)) == data[start:]
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        member = archive.extractfile("src/weights.bin")
        assert member is not None
        assert member.read() == (tmp_path / "weights.bin").read_bytes()


def test_a_pipe_cannot_be_packed_and_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LayerError, match="pipe"):
        write_layer([Member(name="pipe", path=tmp_path / "pipe")], tmp_path / "a.tar.gz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipe"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LayerError, match=r"gone\.txt"):
        write_layer([Member(name="gone.txt", path=tmp_path / "gone.txt")], tmp_path / "a.tar.gz")


def test_packing_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    with (tmp_path / "big.bin").open("wb") as file:
        file.truncate(300 * 1024 * 1024)
    layer = file_layer(Member(name="src/big.bin", path=tmp_path / "big.bin"))
    assert all(len(chunk) <= 1024 * 1024 for chunk in layer.chunks())


# -- hostile archives


def archive(path: Path, *members: tarfile.TarInfo, data: bytes = b"data") -> Path:
    with tarfile.open(path, "w") as target:
        for member in members:
            if member.isreg():
                member.size = len(data)
                target.addfile(member, io.BytesIO(data))
            else:
                target.addfile(member)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, linkname: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, linkname
    return info


HOSTILE = {
    "absolute": [member("/etc/passwd")],
    "parent": [member("../x")],
    "parent inside": [member("a/../../x")],
    "absolute link": [member("l", tarfile.SYMTYPE, "/etc")],
    "link to parent": [member("l", tarfile.SYMTYPE, "..")],
    "link too far up": [member("a/l", tarfile.SYMTYPE, "../../x")],
    "up again behind a name": [
        member("a/b/c/up", tarfile.SYMTYPE, "../.."),
        member("e", tarfile.SYMTYPE, "a/b/c/up/.."),
    ],
    "file through a link": [member("d", tarfile.DIRTYPE), member("l", tarfile.SYMTYPE, "d"), member("l/x")],
    "folder through a link": [member("l", tarfile.SYMTYPE, "d"), member("l/x", tarfile.DIRTYPE)],
    "hard link out": [member("h", tarfile.LNKTYPE, "/etc/passwd")],
    "hard link up": [member("h", tarfile.LNKTYPE, "../x")],
    "hard link to a link": [member("l", tarfile.SYMTYPE, "x"), member("h", tarfile.LNKTYPE, "l")],
    "hard link to nothing": [member("h", tarfile.LNKTYPE, "nothing")],
    "device": [member("d", tarfile.CHRTYPE)],
    "block device": [member("d", tarfile.BLKTYPE)],
    "pipe": [member("p", tarfile.FIFOTYPE)],
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_an_archive_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    path = archive(tmp_path / "hostile.tar", *HOSTILE[name])
    with pytest.raises(UnpackError):
        unpack(path, tmp_path / "in" / "into")
    outside = {found.name for found in tmp_path.iterdir()} | {found.name for found in (tmp_path / "in").iterdir()}
    assert outside <= {"in", "hostile.tar", "into"}


def test_a_later_member_replaces_an_earlier_one_even_a_link(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "a.tar",
        member("x"),
        member("l", tarfile.SYMTYPE, "x"),
        member("l"),
        member("x", tarfile.DIRTYPE),
        member("x/inner"),
        data=b"new",
    )
    unpack(path, tmp_path / "out")
    assert not (tmp_path / "out" / "l").is_symlink()
    assert (tmp_path / "out" / "l").read_bytes() == (tmp_path / "out" / "x" / "inner").read_bytes() == b"new"


def test_a_hard_link_inside_becomes_a_file_of_its_own(tmp_path: Path) -> None:
    unpack(archive(tmp_path / "a.tar", member("x"), member("h", tarfile.LNKTYPE, "x")), tmp_path / "out")
    assert (tmp_path / "out" / "h").read_bytes() == b"data"
    assert (tmp_path / "out" / "x").stat().st_nlink == 1


@pytest.mark.parametrize("cut", [10, 100, 600])
def test_a_broken_archive_is_an_error_that_says_so(tmp_path: Path, cut: int) -> None:
    whole = gzip.compress(archive(tmp_path / "a.tar", member("x"), data=os.urandom(5000)).read_bytes())
    (tmp_path / "cut.tar.gz").write_bytes(whole[:cut])
    with pytest.raises(UnpackError, match=r"cannot be read|cut short"):
        unpack(tmp_path / "cut.tar.gz", tmp_path / "out")


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(hashlib.sha256(str(time.monotonic()).encode()).digest() * 100)
    with pytest.raises(UnpackError):
        unpack(tmp_path / "x", tmp_path / "out")
