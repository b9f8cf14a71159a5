"""The yard is killed, stopped and started: nothing that was accepted is lost, nothing ends twice."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.faults.yard import TERMINAL, Yard

STEPS = """
import time
from typing import Iterator
from cog import BaseRunner
class Runner(BaseRunner):
    def run(self, steps: int, seconds: float = 0.05) -> Iterator[str]:
        for step in range(steps):
            print("step", step)
            yield f"{step} "
            time.sleep(seconds)
"""

QUICK = """
import os
from cog import BaseRunner
class Runner(BaseRunner):
    def run(self, number: int, mark: str) -> str:
        with open(mark, "a") as file:
            file.write(f"{number}\\n")
        return str(number)
"""


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_running_prediction_goes_on_in_its_adopted_worker(yard: Yard, how: str) -> None:
    version = yard.push("steps", STEPS)
    prediction_id = yard.create(version, {"steps": 120})["id"]
    yard.until(prediction_id, lambda shown: bool(shown["output"]))
    (worker,) = yard.workers()
    for _ in range(3):
        time.sleep(0.3)
        if how == "kill":
            yard.kill()
        else:
            yard.stop(hard=True)
        yard.start()
    shown = yard.finished(prediction_id)
    assert shown["status"] == "succeeded", shown
    assert shown["output"] == [f"{step} " for step in range(120)]
    assert shown["logs"] == "".join(f"step {step}\n" for step in range(120))
    assert yard.workers() == [worker]


def test_on_postgresql_a_running_prediction_is_adopted_and_waiting_ones_stay(
    make_yard: Callable[..., Yard], postgres_url: str
) -> None:
    yard = make_yard(database=postgres_url).start()
    version = yard.push("steps", STEPS)
    running = yard.create(version, {"steps": 60})["id"]
    waiting = [yard.create(version, {"steps": 1})["id"] for _ in range(5)]
    yard.until(running, lambda shown: bool(shown["output"]))
    yard.kill()
    yard.start()
    shown = yard.finished(running)
    assert shown["status"] == "succeeded", shown
    assert shown["output"] == [f"{step} " for step in range(60)]
    for prediction_id in waiting:
        assert yard.finished(prediction_id)["status"] == "succeeded"


def test_a_prediction_whose_worker_died_with_the_yard_runs_again(yard: Yard) -> None:
    version = yard.push("steps", STEPS)
    prediction_id = yard.create(version, {"steps": 40})["id"]
    yard.until(prediction_id, lambda shown: bool(shown["output"]))
    (worker,) = yard.workers()
    yard.kill()
    os.kill(worker, signal.SIGKILL)
    yard.start()
    shown = yard.finished(prediction_id)
    assert shown["status"] == "succeeded", shown
    assert shown["output"] == [f"{step} " for step in range(40)]
    assert yard.workers() != [worker]


def test_sigterm_lets_running_predictions_finish_and_keeps_waiting_ones_queued(yard: Yard) -> None:
    version = yard.push("steps", STEPS)
    running = yard.create(version, {"steps": 30})["id"]
    waiting = [yard.create(version, {"steps": 1})["id"] for _ in range(3)]
    yard.until(running, lambda shown: bool(shown["output"]))
    assert yard.stop() == 0
    yard.start()
    assert yard.finished(running)["status"] == "succeeded"
    for prediction_id in waiting:
        assert yard.finished(prediction_id)["status"] == "succeeded"


@pytest.mark.timeout(400)
def test_a_thousand_accepted_predictions_survive_twenty_kills(make_yard: Callable[..., Yard], tmp_path: Path) -> None:
    yard = make_yard().start()
    version = yard.push("quick", QUICK)
    mark = tmp_path / "runs"
    dice = random.Random(7)
    accepted: list[str] = []
    seen: dict[str, tuple[str, str]] = {}
    done = threading.Event()

    def load() -> None:
        number = 0
        with httpx.Client(base_url=yard.url, headers=dict(yard.http.headers), timeout=20) as client:
            while len(accepted) < 1000 and not done.is_set():
                body = {"version": version, "input": {"number": number, "mark": str(mark)}}
                try:
                    reply = client.post("/v1/predictions", json=body)
                except httpx.HTTPError:
                    time.sleep(0.01)
                    continue
                if reply.status_code == 201:
                    accepted.append(reply.json()["id"])
                    number += 1

    loader = threading.Thread(target=load)
    loader.start()
    try:
        for _ in range(20):
            time.sleep(dice.uniform(0.05, 0.8))
            yard.kill()
            if dice.random() < 0.3:
                for worker in yard.workers():
                    os.kill(worker, signal.SIGKILL)
            yard.start()
        loader.join(200)
    finally:
        done.set()
        loader.join(30)
    assert len(accepted) == len(set(accepted)) == 1000
    for prediction_id in accepted:
        shown = yard.finished(prediction_id, 60)
        assert shown["status"] == "succeeded", shown
        seen[prediction_id] = (shown["status"], shown["output"])
    yard.kill()
    yard.start()
    for prediction_id in dice.sample(accepted, 200):
        shown = yard.get(prediction_id)
        assert shown["status"] in TERMINAL
        assert (shown["status"], shown["output"]) == seen[prediction_id]


@pytest.mark.timeout(600)
@pytest.mark.skipif(not os.environ.get("MODELYARD_LONG_TESTS"), reason="takes six minutes: set MODELYARD_LONG_TESTS=1")
def test_a_six_minute_prediction_across_three_restarts_ends_once_with_its_whole_log(yard: Yard) -> None:
    version = yard.push("steps", STEPS)
    prediction_id = yard.create(version, {"steps": 360, "seconds": 1.0})["id"]
    yard.until(prediction_id, lambda shown: bool(shown["output"]))
    for restart in ("stop", "kill", "stop"):
        time.sleep(60)
        if restart == "kill":
            yard.kill()
        else:
            yard.stop(hard=True)
        yard.start()
    shown = yard.finished(prediction_id, 300)
    assert shown["status"] == "succeeded"
    assert shown["logs"] == "".join(f"step {step}\n" for step in range(360))
    assert len(shown["output"]) == 360
