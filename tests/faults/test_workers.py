"""Models that misbehave: their predictions fail and say so, the next one finds a new worker, the yard stays up."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.yard import Yard

HELLO = """
from cog import BaseRunner
class Runner(BaseRunner):
    def run(self, text: str = "you") -> str:
        print("greeting", text)
        return "hello " + text
"""

MISBEHAVES = """
import ctypes, os, sys, time
from cog import BaseRunner
class Runner(BaseRunner):
    def run(self, how: str) -> str:
        print("about to", how)
        if how == "segfault":
            ctypes.string_at(0)
        if how == "exit":
            os._exit(3)
        if how == "abort":
            ctypes.PyDLL(None).dprintf(2, b"terminate called\\n")
            ctypes.PyDLL(None).abort()
        if how == "sys.exit":
            sys.exit(4)
        if how == "raise":
            raise ValueError("a wrong thing")
        if how == "loop":
            while True:
                pass
        if how == "c":
            ctypes.PyDLL(None).sleep(600)
        if how == "sleep":
            time.sleep(600)
        if how == "memory":
            hold = []
            while True:
                hold.append(bytearray(64 * 1024 * 1024))
        return "well"
"""

DIES = """
import os
from cog import BaseRunner
class Runner(BaseRunner):
    def setup(self):
        os._exit(7)
    def run(self) -> int:
        return 1
"""


def test_a_prediction_runs_and_tells_its_log(yard: Yard) -> None:
    version = yard.push("hello", HELLO)
    shown = yard.create(version, {"text": "world"}, prefer="wait")
    assert shown["status"] == "succeeded", shown
    assert shown["output"] == "hello world"
    assert shown["logs"] == "greeting world\n"
    assert shown["metrics"]["predict_time"] >= 0


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("segfault", "SIGSEGV"),
        ("exit", "exited with code 3"),
        ("sys.exit", "SystemExit"),
        ("raise", "a wrong thing"),
        ("abort", "SIGABRT"),
    ],
)
def test_a_broken_run_fails_with_its_reason_and_the_next_one_works(yard: Yard, how: str, says: str) -> None:
    version = yard.push("breaks", MISBEHAVES)
    failed = yard.finished(yard.create(version, {"how": how})["id"])
    assert failed["status"] == "failed"
    assert says in failed["error"]
    assert f"about to {how}" in failed["logs"]
    if how == "raise":
        assert "Traceback" in failed["logs"]
    if how == "abort":
        assert "terminate called\n" in failed["logs"]
    assert yard.finished(yard.create(version, {"how": "not"})["id"])["output"] == "well"


def test_the_logs_of_a_model_that_dies_in_silence_say_why(yard: Yard) -> None:
    version = yard.push("dies", DIES)
    failed = yard.finished(yard.create(version, {})["id"])
    assert failed["status"] == "failed"
    # What the making of its environment said is in the prediction's log.
    assert yard.command("predictions", "delete", failed["id"], "-y").returncode == 0
    said = yard.command("logs", "yard/dies")
    assert "Setup failed: the worker exited with code 7" in said.stdout
    assert "Nothing was said" not in said.stderr


@pytest.mark.parametrize("how", ["loop", "sleep"])
def test_a_cancel_stops_python_code_at_once(yard: Yard, how: str) -> None:
    version = yard.push("breaks", MISBEHAVES)
    prediction_id = yard.create(version, {"how": how})["id"]
    yard.until(prediction_id, lambda shown: shown["status"] == "processing")
    (worker,) = yard.workers()
    yard.http.post(f"/v1/predictions/{prediction_id}/cancel")
    assert yard.finished(prediction_id, 8)["status"] == "canceled"
    assert yard.finished(yard.create(version, {"how": "not"})["id"])["output"] == "well"
    assert yard.workers() == [worker]


def test_an_endless_c_call_is_ended_with_its_instance_after_the_grace_period(yard: Yard) -> None:
    version = yard.push("breaks", MISBEHAVES)
    prediction_id = yard.create(version, {"how": "c"})["id"]
    yard.until(prediction_id, lambda shown: shown["status"] == "processing")
    yard.http.post(f"/v1/predictions/{prediction_id}/cancel")
    assert yard.finished(prediction_id, 30)["status"] == "canceled"
    assert yard.finished(yard.create(version, {"how": "not"})["id"])["output"] == "well"


def test_a_worker_that_fills_memory_is_stopped_at_its_hardwares_limit(yard: Yard) -> None:
    version = yard.push("breaks", MISBEHAVES)
    shown = yard.finished(yard.create(version, {"how": "memory"})["id"], 90)
    assert shown["status"] == "failed"
    assert "out of memory" in shown["error"]
    assert yard.http.get("/healthz").status_code == 200


def test_a_killed_worker_fails_its_prediction_and_is_replaced(yard: Yard) -> None:
    version = yard.push("breaks", MISBEHAVES)
    prediction_id = yard.create(version, {"how": "sleep"})["id"]
    yard.until(prediction_id, lambda shown: shown["status"] == "processing")
    (worker,) = yard.workers()
    os.kill(worker, signal.SIGKILL)
    shown = yard.finished(prediction_id, 10)
    assert shown["status"] == "failed"
    assert "SIGKILL" in shown["error"]
    assert yard.finished(yard.create(version, {"how": "not"})["id"])["output"] == "well"


SETUP = """
import os, sys, time
from cog import BaseRunner
class Runner(BaseRunner):
    def setup(self):
        print("setting up")
        {what}
    def run(self) -> str:
        return "ran"
"""


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("raise RuntimeError('no weights here')", "no weights here"),
        ("import a_module_that_is_missing", "a_module_that_is_missing"),
        ("os._exit(9)", "exited with code 9"),
        ("import ctypes; ctypes.PyDLL(None).dprintf(2, b'no device\\n'); ctypes.PyDLL(None).abort()", "no device\n"),
    ],
)
def test_a_broken_setup_fails_what_waits_with_its_log(yard: Yard, what: str, says: str) -> None:
    version = yard.push("setup", SETUP.format(what=what))
    shown = yard.finished(yard.create(version, {})["id"])
    assert shown["status"] == "failed"
    assert says in shown["error"] + shown["logs"]
    assert "setting up" in shown["logs"]
    assert yard.http.get("/healthz").status_code == 200


def test_a_setup_that_hangs_ends_at_its_timeout(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard(settings={"MODELYARD_SETUP_TIMEOUT_SECONDS": "2"}).start()
    version = yard.push("setup", SETUP.format(what="time.sleep(600)"))
    shown = yard.finished(yard.create(version, {})["id"], 30)
    assert shown["status"] == "failed"
    assert "did not finish within 2 seconds" in shown["error"]


def test_a_setup_that_forks_is_ready_and_leaves_no_orphan(yard: Yard) -> None:
    version = yard.push("setup", SETUP.format(what="os.fork() or time.sleep(600)"))
    assert yard.finished(yard.create(version, {})["id"])["output"] == "ran"
    os.kill(min(yard.workers()), signal.SIGKILL)
    deadline = time.monotonic() + 10
    while yard.workers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert yard.workers() == []


FLOODS = """
from typing import Iterator
from cog import BaseRunner
class Runner(BaseRunner):
    def run(self, how: str) -> Iterator[str]:
        if how == "lines":
            for number in range(200_000):
                print("x" * 50 + "line", number)
        if how == "line":
            print("x" * 100_000_000)
        if how == "output":
            for _ in range(1024):
                yield "y" * 1_000_000
        yield "end"
"""


def memory(yard: Yard) -> int:
    """The yard's resident memory in bytes."""
    assert yard.process is not None
    resident = Path(f"/proc/{yard.process.pid}/statm").read_text().split()[1]
    return int(resident) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.timeout(240)
def test_floods_of_output_and_logs_leave_the_yards_memory_bounded(yard: Yard) -> None:
    version = yard.push("floods", FLOODS)
    before = memory(yard)
    lines = yard.finished(yard.create(version, {"how": "lines"})["id"], 150)
    assert lines["status"] == "succeeded"
    assert lines["logs"].endswith("xline 199999\n")
    assert "left out here" in lines["logs"][:200]
    line = yard.finished(yard.create(version, {"how": "line"})["id"], 60)
    assert line["status"] == "succeeded"
    assert len(line["logs"]) < 5_000_000
    output = yard.finished(yard.create(version, {"how": "output"})["id"], 120)
    assert output["status"] == "failed"
    assert "at most 128 MiB" in output["error"]
    assert memory(yard) - before < 700 * 1024 * 1024
