"""The journal: offsets, the file behind the memory, and what a kill leaves."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.predictions import journal as journals
from modelyard.predictions.journal import Journal


def add(journal: Journal, *values: object) -> None:
    journal.add_output(msgspec.json.encode(values), len(values))


def test_a_reader_resumes_behind_any_entry(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    add(journal, "a", "b")
    journal.add_log("said\n")
    add(journal, "c")
    entries = list(journal.read())
    for position, entry in enumerate(entries):
        assert list(journal.read(entry.end)) == entries[position + 1 :]
    assert journal.output() == b'["a","b","c"]'
    assert journal.log() == "said\n"


def test_what_memory_lets_go_is_read_from_the_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    pieces = [f"{number:06d}" * 100 for number in range(2000)]
    for piece in pieces:
        add(journal, piece)
    assert journal.written
    assert len(journal._entries) < len(pieces)
    assert msgspec.json.decode(journal.output()) == pieces


def test_a_long_log_keeps_its_end_and_says_what_is_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    for number in range(1000):
        journal.add_log(f"line {number}\n")
    shown = journal.log(limit=100)
    assert shown.splitlines()[0].endswith("characters of log before this are left out here]")
    assert shown.endswith("line 999\n")
    assert len(shown) < 300


def test_the_end_of_a_long_log_is_found_without_reading_what_stands_before_it(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path)
    text = "".join(f"line {number:06d} é\n" for number in range(300_000))
    for start in range(0, len(text), 1000):
        journal.add_log(text[start : start + 1000])
        add(journal, start)
    journal.seq = 1
    journal.write()
    assert journal.log_characters == len(text)
    loaded, _ = journals.load(path)
    assert loaded.log_characters == len(text)
    # Whoever reads these bytes finds no log in them.
    damaged = 1024 * 1024
    path.write_bytes(b"l" * damaged + path.read_bytes()[damaged:])
    for one in (journal, loaded):
        said, _, end = one.log().partition("\n")
        assert end == text[-len(end) :]
        assert len(end) > journals.SHOWN_LOG_BYTES - 1000
        assert said == f"[{len(text) - len(end):,} characters of log before this are left out here]"
    journal.reset()
    assert (journal.log(), journal.log_characters) == ("", 0)


@given(cut=st.integers(min_value=0, max_value=400))
def test_a_journal_cut_anywhere_loads_up_to_what_was_acknowledged(tmp_path_factory: object, cut: int) -> None:
    path = tmp_path_factory.mktemp("j") / "j"  # type: ignore[attr-defined]
    journal = Journal(path)
    safe = [0]
    for number in range(1, 6):
        add(journal, f"item {number}")
        journal.seq = number
        journal.write()
        safe.append(journal.end)
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    loaded, _ = journals.load(path)
    assert loaded.end == max(offset for offset in safe if offset <= min(cut, len(whole)))
    assert loaded.items == loaded.seq == safe.index(loaded.end)
    add(loaded, "more")
    assert msgspec.json.decode(loaded.output())[-1] == "more"


def test_facts_other_than_output_and_logs_come_back_on_loading(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.add(journals.METRIC, b'["n",3,"replace"]')
    journal.seq = 7
    journal.write()
    journal.close()
    loaded, facts = journals.load(tmp_path / "j")
    assert [(fact.kind, fact.body) for fact in facts] == [(journals.METRIC, b'["n",3,"replace"]')]
    assert loaded.seq == 7


def test_a_full_disk_costs_a_journal_nothing_that_was_said(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    add(journal, "first")
    journal.seq = 1
    journal.write()
    size = (tmp_path / "j").stat().st_size
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A process that may not write longer files meets a disk that is full.
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1000, limit[1]))
    try:
        for number in range(3):
            add(journal, f"{number}" * 400_000)
            with pytest.raises(OSError, match="too large"):
                journal.write()
            assert (tmp_path / "j").stat().st_size == size
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, former)
    journal.seq = 4
    journal.write()
    journal.close()
    loaded, _ = journals.load(tmp_path / "j")
    assert loaded.output() == journal.output()
    assert loaded.items == 4
