"""What native code wrote is there, though it ended its process at once or keeps the worker from reading it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from supervised import Heard, run, supervised

from modelyard_runner import frames
from modelyard_runner.last_words import LastWords
from modelyard_runner.screen import Screen

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a process's descriptors are seen on Linux alone"),
]


def logs(heard: Heard, stream: str | None = None) -> str:
    return "".join(f.text for f in heard.frames if isinstance(f, frames.Log) and stream in (None, f.stream))


async def end_of(supervisor: Any, value: Any, name: str = "p1") -> Heard:
    heard = Heard()
    supervisor.predict(name, json.dumps(value).encode(), None, heard)
    await asyncio.wait_for(heard.end, 30)
    return heard


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("lines", [1, 200])
async def test_what_native_code_wrote_before_it_aborted_is_in_the_log_of_its_prediction(held: bool, lines: int) -> None:
    expected = "".join(f"terminate called {number}\n" for number in range(lines))
    async with supervised("native.py:aborts") as supervisor:
        for number in range(5):
            heard = await end_of(supervisor, {"held": held, "lines": lines}, f"p{number}")
            assert logs(heard, "stdout") == "before\n"
            assert logs(heard, "stderr") == expected
            assert isinstance(heard.frames[-1], frames.Failed)
            assert "SIGABRT" in heard.frames[-1].error
            while supervisor.state != "READY":
                await asyncio.sleep(0.02)


async def test_where_several_run_last_words_are_the_instances() -> None:
    shown: list[str] = []
    async with supervised(
        "native.py:aborts_beside_others", concurrency=2, screen=Screen(shown.append), replace=False
    ) as supervisor:
        beside = Heard()
        supervisor.predict("beside", b'{"how":"wait"}', None, beside)
        await beside.until(frames.Started)
        heard = await end_of(supervisor, {"how": "abort"})
        assert "terminate" not in logs(heard) + logs(beside)
        assert "terminate called 0\n" in "".join(shown)


async def test_a_setup_that_aborts_leaves_its_last_words() -> None:
    async with supervised("native.py:SetupAborts", ready=False) as supervisor:
        assert await supervisor.settled() == "SETUP_FAILED"
        assert supervisor.setup_logs.startswith("before\nterminate called 0\n")
        assert "SIGABRT" in supervisor.setup_logs


async def test_last_words_are_kept_though_nobody_attended_while_the_worker_lived() -> None:
    async with supervised("native.py:SetupAborts", ready=False) as supervisor:
        [worker] = filter(_is_worker, Path("/proc").iterdir())
        while _is_worker(worker):
            time.sleep(0.01)
        assert await supervisor.settled() == "SETUP_FAILED"
        assert "terminate called 0\n" in supervisor.setup_logs


def _is_worker(process: Path) -> bool:
    """Whether a folder of `/proc` is that of a worker that this process started, and that lives."""
    try:
        state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
        named = b"modelyard_runner" in (process / "cmdline").read_bytes()
    except OSError:  # no process, or gone meanwhile
        return False
    return named and state != "Z" and parent == str(os.getpid())


async def test_a_setup_that_hangs_in_native_code_leaves_what_it_wrote() -> None:
    async with supervised("native.py:SetupHangs", ready=False, setup_timeout=2) as supervisor:
        assert await supervisor.settled() == "SETUP_FAILED"
        assert supervisor.setup_logs == "waiting for the device\nworker setup timed out"


async def test_a_run_that_is_canceled_in_native_code_has_what_it_wrote() -> None:
    async with supervised("native.py:hangs", cancel_grace=0.3, replace=False) as supervisor:
        heard = Heard()
        supervisor.predict("p1", b"{}", None, heard)
        while "waiting" not in logs(heard):  # nothing comes by itself
            await asyncio.sleep(0.1)
            supervisor.cancel("p1")
        assert isinstance(await asyncio.wait_for(heard.end, 20), frames.Canceled)


async def test_a_child_that_outlives_the_worker_keeps_nothing_back() -> None:
    async with supervised("native.py:leaves_a_child", replace=False) as supervisor:
        assert logs(await end_of(supervisor, {}), "stderr") == "terminate called 0\n"


async def test_no_descriptor_is_left_of_workers_that_are_gone() -> None:
    async with supervised("native.py:aborts") as supervisor:
        before = None
        for number in range(4):
            await run(supervisor, {}, f"p{number}")
            while supervisor.state != "READY":
                await asyncio.sleep(0.02)
            open_now = sum(1 for _ in Path("/proc/self/fd").iterdir())
            assert before in (None, open_now)
            before = open_now


async def test_only_pipes_are_opened(tmp_path: Any) -> None:
    file = tmp_path / "file"
    file.write_text("private")
    with file.open() as opened, subprocess.Popen(["sleep", "60"], pass_fds=[opened.fileno()]) as process:
        words = LastWords()
        words.hold(process.pid, [opened.fileno(), 9999])
        assert words.read() == []
        process.kill()
