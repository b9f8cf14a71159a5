"""Frames that nobody has acknowledged: in memory, in a file, and where the disk takes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard_runner import keeper
from modelyard_runner.keeper import Keeper


def test_older_frames_go_to_the_file_and_come_back_in_order(tmp_path: Path) -> None:
    kept = Keeper(tmp_path / "frames", memory_limit=100)
    for seq in range(1, 11):
        kept.add(seq, b"%02d" % seq * 20)
    start, end = kept.spooled
    assert end > start
    assert kept.read(start, end) + b"".join(kept.remembered()) == b"".join(b"%02d" % seq * 20 for seq in range(1, 11))


def test_a_disk_that_takes_nothing_leaves_the_frames_in_memory(tmp_path: Path) -> None:
    (tmp_path / "no folder").touch()
    kept = Keeper(tmp_path / "no folder" / "frames", memory_limit=100)
    for seq in range(1, 11):
        kept.add(seq, b"x" * 60)
    assert len(kept.remembered()) == 10
    (tmp_path / "no folder").unlink()
    for seq in range(11, 16):
        kept.add(seq, b"x" * 60)
    start, end = kept.spooled
    assert (end - start) + sum(map(len, kept.remembered())) == 15 * 60
    assert end > start


def test_memory_without_a_disk_has_an_end(tmp_path: Path) -> None:
    (tmp_path / "no folder").touch()
    kept = Keeper(tmp_path / "no folder" / "frames", memory_limit=100)

    def add(frames: range) -> None:
        for seq in frames:
            kept.add(seq, b"x" * 60)

    enough = keeper.WITHOUT_DISK * 100 // 60
    add(range(enough))
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        add(range(enough, enough + 5))
