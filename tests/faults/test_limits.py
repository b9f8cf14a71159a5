"""How long things may take: the model says less than the yard in its cog.yaml, and is held to it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.faults.yard import Yard

SETUP = """
import time
from cog import BaseRunner
class Runner(BaseRunner):
    def setup(self) -> None:
        print("setting up")
        time.sleep(30)
    def run(self) -> str:
        return "ran"
"""

RUN = """
import time
from typing import Iterator
from cog import BaseRunner
class Runner(BaseRunner):
    def run(self, seconds: float = 0) -> Iterator[str]:
        yield "begun"
        try:
            time.sleep(seconds)
        finally:
            print("put away", flush=True)
        yield "ended"
"""


def test_a_setup_ends_at_the_time_that_its_model_gives_it(yard: Yard) -> None:
    version = yard.push("setup", SETUP, yaml="environment:\n  - COG_SETUP_TIMEOUT=1\n")
    shown = yard.finished(yard.create(version, {})["id"], 20)
    assert (shown["status"], shown["error"]) == ("failed", "Setup did not finish within 1 seconds.")
    assert "setting up" in shown["logs"]


@pytest.mark.parametrize("own", ["600", "0", "soon"])
def test_a_model_cannot_take_more_for_its_setup_than_the_yard_gives(make_yard: Callable[..., Yard], own: str) -> None:
    yard = make_yard(settings={"MODELYARD_SETUP_TIMEOUT_SECONDS": "1"}).start()
    version = yard.push("setup", SETUP, yaml=f"environment:\n  - COG_SETUP_TIMEOUT={own}\n")
    shown = yard.finished(yard.create(version, {})["id"], 20)
    assert (shown["status"], shown["error"]) == ("failed", "Setup did not finish within 1 seconds.")


def test_a_run_ends_at_the_time_that_its_model_gives_it_and_the_next_one_works(yard: Yard) -> None:
    version = yard.push("run", RUN, yaml="environment:\n  - MODELYARD_RUN_TIMEOUT=1\n")
    shown = yard.finished(yard.create(version, {"seconds": 30})["id"], 20)
    assert (shown["status"], shown["error"]) == ("failed", "Prediction timed out after 1 seconds.")
    assert shown["output"] == ["begun"]
    (worker,) = yard.workers()
    after = yard.finished(yard.create(version, {})["id"], 20)
    assert (after["status"], after["output"]) == ("succeeded", ["begun", "ended"])
    assert yard.workers() == [worker]  # it stopped when it was asked to


def test_a_run_that_does_not_stop_ends_with_its_worker_and_the_next_one_works(yard: Yard) -> None:
    held = "import ctypes; ctypes.PyDLL(None).sleep(int(seconds))"
    stubborn = RUN.replace("time.sleep(seconds)", held)
    version = yard.push("stubborn", stubborn, yaml="environment:\n  - MODELYARD_RUN_TIMEOUT=1\n")
    shown = yard.finished(yard.create(version, {"seconds": 60})["id"], 20)
    assert (shown["status"], shown["error"]) == ("failed", "Prediction timed out after 1 seconds.")
    (worker,) = yard.workers()
    after = yard.finished(yard.create(version, {})["id"], 40)
    assert (after["status"], after["output"]) == ("succeeded", ["begun", "ended"])
    deadline = time.monotonic() + 20
    while worker in yard.workers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert worker not in yard.workers()
    assert yard.get(shown["id"])["error"] == shown["error"]


HELD = """
import ctypes
from cog import BaseRunner
library = ctypes.PyDLL(None)
class Runner(BaseRunner):
    def run(self, seconds: int = 0) -> str:
        library.dprintf(2, b"waiting for the device\\n")
        library.sleep(seconds)
        return "ended"
"""


def test_a_run_that_holds_the_interpreter_from_its_first_statement_is_held_to_its_time(yard: Yard) -> None:
    version = yard.push("held", HELD, yaml="environment:\n  - MODELYARD_RUN_TIMEOUT=3\n")
    made = yard.create(version, {"seconds": 600})["id"]
    yard.until(made, lambda shown: shown["status"] == "processing")
    shown = yard.finished(made, 30)
    assert (shown["status"], shown["error"]) == ("failed", "Prediction timed out after 3 seconds.")
    assert shown["logs"] == "waiting for the device\n"
    after = yard.finished(yard.create(version, {})["id"], 60)
    assert (after["status"], after["output"], after["logs"]) == ("succeeded", "ended", "waiting for the device\n")


def test_such_a_run_is_held_to_its_time_by_the_next_yard(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard().start()
    version = yard.push("held", HELD, yaml="environment:\n  - MODELYARD_RUN_TIMEOUT=4\n")
    made = yard.create(version, {"seconds": 600})["id"]
    yard.until(made, lambda shown: shown["status"] == "processing")
    yard.kill()
    yard.start()
    shown = yard.finished(made, 40)
    assert (shown["status"], shown["error"]) == ("failed", "Prediction timed out after 4 seconds.")
    assert yard.finished(yard.create(version, {})["id"], 60)["output"] == "ended"


def test_a_run_that_outlives_its_yard_is_held_to_its_time_by_the_next(make_yard: Callable[..., Yard]) -> None:
    yard = make_yard().start()
    version = yard.push("run", RUN, yaml="environment:\n  - MODELYARD_RUN_TIMEOUT=3\n")
    made = yard.create(version, {"seconds": 60})["id"]
    yard.until(made, lambda shown: shown["output"] == ["begun"])
    yard.kill()
    yard.start()
    shown = yard.finished(made, 20)
    assert (shown["status"], shown["error"]) == ("failed", "Prediction timed out after 3 seconds.")
