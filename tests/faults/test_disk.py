"""A disk that fills up under a yard: nothing new is taken, what runs goes on, and nothing that was said is lost."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import small_disks

from tests.faults.yard import Yard

MEBIBYTE = 1024 * 1024
TALKS = """
import time
from collections.abc import Iterator
from cog import BaseRunner

class Runner(BaseRunner):
    def run(self, count: int, size: int, pause: float) -> Iterator[str]:
        for number in range(count):
            print(f"step {number}")
            yield str(number % 10) * size
            time.sleep(pause)
"""

pytestmark = small_disks.needs_root


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    yard = Yard(tmp_path, settings={"MODELYARD_IDLE_TIMEOUT_SECONDS": "600"})
    with small_disks.mounted(yard.data, "160m"):
        try:
            yield yard.start()
        finally:
            yard.end()


def fill(yard: Yard, leave: int) -> Path:
    """Write a file until `leave` bytes of the disk are free."""
    filler = yard.data / "filler"
    with filler.open("ab", buffering=0) as file:
        while (free := free_bytes(yard)) > leave:
            try:
                file.write(b"\0" * min(MEBIBYTE, free - leave))
            except OSError:
                break
    return filler


def free_bytes(yard: Yard) -> int:
    stat = os.statvfs(yard.data)
    return stat.f_bavail * stat.f_frsize


def test_a_nearly_full_disk_takes_nothing_new_while_what_runs_goes_on(yard: Yard) -> None:
    version = yard.push("talks", TALKS)
    running = yard.create(version, {"count": 30, "size": 10, "pause": 0.1})["id"]
    yard.until(running, lambda shown: len(shown["output"] or []) > 1)
    filler = fill(yard, leave=5 * MEBIBYTE)
    time.sleep(1.2)  # how much is free is looked up once a second

    refused = yard.http.post("/v1/predictions", json={"version": version, "input": {"count": 1, "size": 1, "pause": 0}})
    upload = yard.http.post("/v1/files", files={"content": ("x.txt", b"x")})
    (yard.folder / "projects" / "talks" / "more.py").write_text("more = 1\n")
    push = yard.command("push", "yard/talks", cwd=yard.folder / "projects" / "talks")
    shown = yard.finished(running)

    for answer in (refused, upload):
        assert answer.status_code == 507, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert "nearly full" in answer.json()["detail"]
    assert push.returncode == 1
    assert "nearly full" in push.stderr
    assert shown["status"] == "succeeded"
    assert shown["output"] == [str(number % 10) * 10 for number in range(30)]
    filler.unlink()
    time.sleep(1.2)
    again = yard.create(version, {"count": 1, "size": 3, "pause": 0})["id"]
    assert yard.finished(again)["output"] == ["000"]


def test_a_run_goes_on_over_a_disk_that_is_full_for_a_while(yard: Yard) -> None:
    version = yard.push("talks", TALKS)
    running = yard.create(version, {"count": 200, "size": 40_000, "pause": 0.02})["id"]
    yard.until(running, lambda shown: len(shown["output"] or []) > 1)
    filler = fill(yard, leave=0)
    yard.until(running, lambda shown: len(shown["output"] or []) == 200)
    filler.unlink()

    shown = yard.finished(running)

    assert shown["status"] == "succeeded", shown["error"]
    assert shown["output"] == [str(number % 10) * 40_000 for number in range(200)]
    assert shown["logs"] == "".join(f"step {number}\n" for number in range(200))
    assert yard.log().count("cannot be written for now") <= 2
