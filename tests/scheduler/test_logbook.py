"""Logs of instances: kept in a file each, cut at their beginning when they grow, gone when they are old."""

from __future__ import annotations

import os
from pathlib import Path

from modelyard.scheduler import logbook
from modelyard.scheduler.logbook import Logbook

NOW = 1_800_000_000


def make(folder: Path) -> Logbook:
    return Logbook(folder, lambda: NOW * 1_000_000)


def whole(book: Logbook, instance: str, offset: int = 0) -> bytes:
    parts = []
    while True:
        part, offset = book.read(instance, offset)
        if not part:
            return b"".join(parts)
        parts.append(part)


def test_what_is_added_is_read_from_any_offset_on(tmp_path: Path) -> None:
    book = make(tmp_path)
    book.add("one", "hello\n")
    _, offset = book.read("one", 0)
    book.add("one", "wörld\n")
    assert whole(book, "one") == "hello\nwörld\n".encode()
    assert whole(book, "one", offset) == "wörld\n".encode()
    assert whole(book, "two") == b""


def test_what_the_yard_says_of_an_instance_has_its_time(tmp_path: Path) -> None:
    book = make(tmp_path)
    book.note("one", "ready")
    assert whole(book, "one") == b"[2027-01-15T08:00:00.000000Z] ready\n"


def test_a_log_that_grows_too_long_loses_its_older_half_and_no_reader_notices(tmp_path: Path) -> None:
    book = make(tmp_path)
    line = "x" * 1023 + "\n"
    seen = offset = 0
    count = 0
    while count < 3 * logbook.MAX_BYTES // 1024:
        book.add("one", line)
        count += 1
        while True:
            part, offset = book.read("one", offset)
            seen += len(part)
            if not part:
                break
        assert book.path("one").stat().st_size <= logbook.MAX_BYTES
    assert seen == offset == count * 1024
    assert whole(book, "one").startswith(b"xxx")


def test_the_process_goes_on_writing_where_a_log_was_cut(tmp_path: Path) -> None:
    book = make(tmp_path)
    book.add("one", "first\n")
    with book.path("one").open("ab", buffering=0) as process:
        for _ in range(logbook.MAX_BYTES // 1024 + 1):
            book.add("one", "x" * 1023 + "\n")
        process.write(b"last words\n")
    assert whole(book, "one").endswith(b"x\nlast words\n")


def test_the_last_lines_are_found(tmp_path: Path) -> None:
    book = make(tmp_path)
    book.add("one", "a\nb\nc\n")
    assert whole(book, "one", book.tail("one", 2)) == b"b\nc\n"
    assert whole(book, "one", book.tail("one", 9)) == b"a\nb\nc\n"
    assert whole(book, "one", book.tail("one", 0)) == b""


def test_an_offset_of_an_earlier_life_leads_to_what_comes_next(tmp_path: Path) -> None:
    book = make(tmp_path)
    book.add("one", "old\n")
    _, offset = book.read("one", 10_000)
    book.add("one", "new\n")
    assert whole(book, "one", offset) == b"new\n"


def test_a_follower_hears_of_additions_and_of_the_end_until_it_leaves(tmp_path: Path) -> None:
    book = make(tmp_path)
    heard: list[str] = []
    leave = book.follow("one", lambda: heard.append("news"))
    book.add("one", "a")
    book.add("two", "b")
    book.close("one")
    assert heard == ["news", "news"]
    leave()
    book.add("one", "c")
    assert heard == ["news", "news"]


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("no folder")
    make(tmp_path).add("one", "hello\n")
    assert whole(make(tmp_path), "one") == b""


def test_of_instances_that_ended_the_log_stays_and_nothing_else(tmp_path: Path) -> None:
    book = make(tmp_path)
    for name in ("alive", "recent", "old"):
        book.add(name, "hello\n")
        (tmp_path / name / "tmp").mkdir()
        (tmp_path / name / "predictions" / "running").mkdir(parents=True)
        (tmp_path / name / "predictions" / "ended").mkdir()
        (tmp_path / name / "frames").write_text("")
        book.close(name)
        os.utime(book.path(name), (NOW - 60, NOW - 60))
    # Housekeeping takes it away, as late as `keep_logs` says, and has a folder of its own here.
    os.utime(book.path("old"), (NOW - 365 * 86400,) * 2)
    (tmp_path / ".trash" / "half-deleted").mkdir(parents=True)
    book.sweep({"alive"}, {"running"})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".trash", "alive", "old", "recent"]
    assert (tmp_path / ".trash" / "half-deleted").exists()
    assert sorted(path.name for path in (tmp_path / "alive").iterdir()) == [
        "frames",
        logbook.NAME,
        "predictions",
        "tmp",
    ]
    for name in ("recent", "old"):
        assert sorted(path.name for path in (tmp_path / name).rglob("*")) == [logbook.NAME, "predictions", "running"]


def test_of_very_many_instances_that_ended_the_last_are_kept(tmp_path: Path) -> None:
    book = make(tmp_path)
    for number in range(logbook.KEPT_FOLDERS + 5):
        (tmp_path / f"{number:04d}").mkdir()
        path = book.path(f"{number:04d}")
        path.write_text("")
        os.utime(path, (NOW - 1000 + number,) * 2)
    book.sweep(set(), set())
    left = sorted(path.name for path in tmp_path.iterdir())
    assert len(left) == logbook.KEPT_FOLDERS
    assert left[0] == "0005"
