"""The file of a backup: whole, or found out; of today, or refused by name."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import asdict
from pathlib import Path

import pytest

from modelyard.backup import archive
from modelyard.backup.archive import DamagedBackup, Header, NewerBackup, Reader, Writer

HEADER = Header(yard="0.1.0", revision="0002", database="sqlite", made_at=1)
CONTENTS = json.dumps({"rows": {}, "journals": 0, "blobs": 2, "bytes": 700_005}).encode()
LONG = "blobs/outputs/" + "ä" * 120 + "/" + "b" * 120


def backup(*, header: Header = HEADER, **more: bytes) -> bytes:
    """A backup of two blobs, the second one with a name that a plain tar has no room for."""
    writer = Writer(1)
    written = [writer.whole(archive.HEADER, json.dumps(asdict(header)).encode())]
    written.append(writer.whole(archive.CONTENTS, CONTENTS))
    members = {"blobs/a": b"small", LONG: bytes(700_000), **more}
    return b"".join([*written, *(writer.whole(name, content) for name, content in members.items()), writer.end([], 0)])


def read(content: bytes) -> dict[str, bytes]:
    return {member.name: member.read() for member in Reader(io.BytesIO(content)).members()}


def test_what_was_written_is_read_and_any_tar_reads_it_too() -> None:
    found = read(backup())
    assert found == {"contents.json": CONTENTS, "blobs/a": b"small", LONG: bytes(700_000)}
    with tarfile.open(fileobj=io.BytesIO(backup())) as tar:
        assert tar.getnames() == ["backup.json", "contents.json", "blobs/a", LONG, "sums/000001.jsonl", "end.json"]


def test_sums_come_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "SUMS_TOGETHER", 2)
    content = backup()
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert len([name for name in tar.getnames() if name.startswith("sums/")]) == 2
    assert read(content)["blobs/a"] == b"small"


def test_a_backup_that_is_cut_off_anywhere_is_found_out() -> None:
    content = backup()
    end = content.rindex(b"end.json")
    for length in [*range(0, 6000, 97), *range(6000, end + 1000, 4999), end, end + 512, end + 530]:
        with pytest.raises(DamagedBackup):
            Reader(io.BytesIO(content[:length])).check()


def test_a_bit_that_is_wrong_anywhere_in_what_counts_is_found_out() -> None:
    content = backup()
    whole = read(content)
    for place in range(0, len(content), 1201):
        wrong = bytearray(content)
        wrong[place] ^= 1
        try:
            found = read(bytes(wrong))
        except DamagedBackup:
            continue
        # Between members there is room that means nothing.
        assert found == whole


@pytest.mark.parametrize("content", [b"", b"not a backup", b"\x1f\x8b\x08" + bytes(2000), bytes(20_000)])
def test_what_is_no_backup_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(DamagedBackup, match="no backup of a yard"):
        Reader(io.BytesIO(content))


def test_a_tar_of_others_is_no_backup() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("holiday.jpg"))
    with pytest.raises(DamagedBackup, match=r"it does not begin with backup\.json"):
        Reader(io.BytesIO(file.getvalue()))


def test_a_link_in_a_backup_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("blobs/a")
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    writer = Writer(1)
    content = writer.whole(archive.HEADER, json.dumps(asdict(HEADER)).encode()) + info.tobuf() + writer.end([], 0)
    with pytest.raises(DamagedBackup, match="'blobs/a' in the backup is no plain file"):
        Reader(io.BytesIO(content)).check()


@pytest.mark.parametrize(
    "said", [{"made_at": "noon"}, {"revision": ["0001"]}, {"holds": "cats"}, {"database": None}, {"yard": 1}]
)
def test_a_backup_that_somebody_wrote_by_hand_is_not_believed(said: dict[str, object]) -> None:
    content = Writer(1).whole(archive.HEADER, json.dumps(asdict(HEADER) | said).encode())
    with pytest.raises(DamagedBackup, match=r"backup\.json in the backup is not what was expected"):
        Reader(io.BytesIO(content + bytes(20_000)))


def test_a_newer_format_says_which_version_reads_it() -> None:
    newer = Header(yard="3.1.0", revision="0009", database="sqlite", made_at=1, format=2)
    with pytest.raises(NewerBackup, match=r"made by Modelyard 3\.1\.0 in format 2; this one reads up to 1") as caught:
        Reader(io.BytesIO(backup(header=newer)))
    assert caught.value.hint == "restore it with Modelyard 3.1.0 or newer"


def test_a_file_that_changes_while_it_is_written_is_not_written() -> None:
    grows, shrinks = Writer(1), Writer(1)
    grows.begin("blobs/a", 2)
    shrinks.begin("blobs/a", 2)
    shrinks.piece(b"x")
    with pytest.raises(DamagedBackup, match="blobs/a grew"):
        grows.piece(b"xxx")
    with pytest.raises(DamagedBackup, match="blobs/a is shorter"):
        shrinks.finish()
