"""The yard is killed, stopped and started: nothing that was accepted is lost, nothing ends twice."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.yard import Yard

STEPS = """
import time
from typing import Iterator
from cog import BaseRunner
class Runner(BaseRunner):
    def run(self, steps: int, seconds: float = 0.05, mark: str = "") -> Iterator[str]:
        if mark:
            with open(mark, "a") as file:
                file.write("ran\\n")
        for step in range(steps):
            print("step", step)
            yield f"{step} "
            time.sleep(seconds)
"""

QUICK = """
import time
from cog import BaseRunner
class Runner(BaseRunner):
    def run(self, number: int, mark: str, seconds: float) -> str:
        with open(mark, "a") as file:
            file.write(f"{number} {time.time_ns() // 1000}\\n")
        time.sleep(seconds)
        return str(number)
"""


def output_of(steps: int) -> list[str]:
    return [f"{step} " for step in range(steps)]


def kill_all(yard: Yard) -> None:
    """The yard first: it must not see its workers die."""
    yard.kill()
    for worker in yard.workers():
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
    until(lambda: not yard.workers())


def claimed(attempt: int) -> Callable[[dict[str, Any]], bool]:
    """Does the row say that an instance has it, for this time? It is written a moment after the run began."""
    return lambda row: row["instance_id"] is not None and row["attempts"] == attempt


def runs(mark: Path) -> int:
    """How many runs began: each left a line."""
    return len(mark.read_text().splitlines()) if mark.exists() else 0


def until(condition: Callable[[], bool], timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(0.02)


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
    assert shown["output"] == output_of(120)
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
    assert shown["output"] == output_of(60)
    for prediction_id in waiting:
        assert yard.finished(prediction_id)["status"] == "succeeded"


def test_a_prediction_whose_worker_died_with_the_yard_runs_again(yard: Yard, tmp_path: Path) -> None:
    version = yard.push("steps", STEPS)
    mark = tmp_path / "runs"
    prediction_id = yard.create(version, {"steps": 40, "mark": str(mark)})["id"]
    yard.until(prediction_id, lambda shown: bool(shown["output"]))
    yard.row_until(prediction_id, claimed(1))
    (worker,) = yard.workers()
    kill_all(yard)
    row = yard.rows()[prediction_id]
    assert row["status"] in ("starting", "processing"), row
    yard.start()
    shown = yard.finished(prediction_id)
    assert shown["status"] == "succeeded", shown
    assert shown["output"] == output_of(40)
    assert shown["logs"] == "".join(f"step {step}\n" for step in range(40))
    assert yard.workers() != [worker]
    assert yard.rows()[prediction_id]["attempts"] == 2
    assert runs(mark) == 2


def test_a_prediction_that_loses_worker_and_yard_three_times_fails_and_is_not_tried_again(
    yard: Yard, tmp_path: Path
) -> None:
    version = yard.push("steps", STEPS)
    mark = tmp_path / "runs"
    prediction_id = yard.create(version, {"steps": 100_000, "mark": str(mark)})["id"]
    for attempt in (1, 2, 3):
        until(lambda attempt=attempt: runs(mark) == attempt)  # type: ignore[misc]
        yard.row_until(prediction_id, claimed(attempt))
        kill_all(yard)
        assert yard.rows()[prediction_id]["status"] in ("starting", "processing")
        yard.start()
    shown = yard.finished(prediction_id)
    assert shown["status"] == "failed", shown
    assert "lost 3 times" in shown["error"]
    assert "it is not tried again" in shown["error"]
    assert yard.rows()[prediction_id]["attempts"] == 3
    assert yard.finished(yard.create(version, {"steps": 1})["id"])["status"] == "succeeded"
    assert runs(mark) == 3


def test_sigterm_lets_running_predictions_finish_and_keeps_waiting_ones_queued(yard: Yard, tmp_path: Path) -> None:
    version = yard.push("steps", STEPS)
    mark = tmp_path / "runs"
    running = yard.create(version, {"steps": 50, "mark": str(mark)})["id"]
    yard.until(running, lambda shown: bool(shown["output"]))
    waiting = [yard.create(version, {"steps": 1, "mark": str(mark)})["id"] for _ in range(3)]
    assert yard.get(running)["status"] == "processing"
    assert yard.stop() == 0
    rows = yard.rows()
    assert rows[running]["status"] == "succeeded", rows[running]
    assert json.loads(rows[running]["output"]) == output_of(50)
    for prediction_id in waiting:
        assert (rows[prediction_id]["status"], rows[prediction_id]["instance_id"]) == ("starting", None)
    assert runs(mark) == 1
    yard.start()
    for prediction_id in waiting:
        assert yard.finished(prediction_id)["status"] == "succeeded"
    assert yard.rows()[running] == rows[running]
    assert runs(mark) == 1 + len(waiting)


def test_a_run_longer_than_the_drain_grace_goes_on_without_the_yard_and_is_adopted(
    make_yard: Callable[..., Yard], tmp_path: Path
) -> None:
    yard = make_yard(settings={"MODELYARD_DRAIN_SECONDS": "1"}).start()
    version = yard.push("steps", STEPS)
    mark = tmp_path / "runs"
    running = yard.create(version, {"steps": 120, "mark": str(mark)})["id"]
    yard.until(running, lambda shown: bool(shown["output"]))
    waiting = yard.create(version, {"steps": 1, "mark": str(mark)})["id"]
    (worker,) = yard.workers()
    began = time.monotonic()
    assert yard.stop() == 0
    assert time.monotonic() - began >= 1, "it did not wait for the run"
    rows = yard.rows()
    assert rows[running]["status"] == "processing", rows[running]
    assert (rows[waiting]["status"], rows[waiting]["instance_id"]) == ("starting", None)
    assert yard.workers() == [worker]
    yard.start()
    shown = yard.finished(running)
    assert shown["status"] == "succeeded", shown
    assert shown["output"] == output_of(120)
    assert yard.finished(waiting)["status"] == "succeeded"
    after = yard.rows()
    assert after[running]["instance_id"] == rows[running]["instance_id"]
    assert [after[each]["attempts"] for each in (running, waiting)] == [1, 1]
    assert runs(mark) == 2


def test_a_second_sigterm_ends_the_yard_at_once_and_leaves_the_run_to_its_worker(
    make_yard: Callable[..., Yard],
) -> None:
    grace = 30
    yard = make_yard(settings={"MODELYARD_DRAIN_SECONDS": str(grace)}).start()
    version = yard.push("steps", STEPS)
    running = yard.create(version, {"steps": 1200})["id"]  # a minute
    yard.until(running, lambda shown: bool(shown["output"]))
    (worker,) = yard.workers()
    process = yard.process
    assert process is not None
    # Somebody who watches it holds a connection open, which must not delay the end.
    with yard.http.stream("GET", yard.get(running)["urls"]["stream"], headers={"accept": "text/event-stream"}) as watch:
        assert watch.status_code == 200
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        until(lambda: "Stopping: what runs may finish" in yard.log())
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(2 * grace) == 0
        assert time.monotonic() - began < grace / 2
    row = yard.rows()[running]
    assert (row["status"], row["completed_at"]) == ("processing", None)
    assert yard.workers() == [worker]
    yard.start()
    yard.until(running, lambda shown: shown["status"] == "processing" and len(shown["output"]) > 1)
    yard.http.post(f"/v1/predictions/{running}/cancel")
    assert yard.finished(running)["status"] == "canceled"
    assert yard.workers() == [worker]


KILLS = 20
ACCEPTED = 1000


class Load:
    """Somebody who creates predictions whenever the yard is there, some of them slow: `allow` says up to how many."""

    def __init__(self, yard: Yard, version: str, mark: Path) -> None:
        self._yard, self._version, self._mark = yard, version, mark
        self.accepted: list[str] = []
        self.allow = 0
        self.done = threading.Event()

    def run(self) -> None:
        numbers = itertools.count()
        with httpx.Client(base_url=self._yard.url, headers=dict(self._yard.http.headers), timeout=20) as client:
            while len(self.accepted) < ACCEPTED and not self.done.is_set():
                if len(self.accepted) >= self.allow:
                    time.sleep(0.005)
                    continue
                # One number for each try: a try that was not answered may have been accepted all the same.
                number = next(numbers)
                seconds = 0.3 if number % 32 == 0 else 0
                values = {"number": number, "mark": str(self._mark), "seconds": seconds}
                try:
                    reply = client.post("/v1/predictions", json={"version": self._version, "input": values})
                except httpx.HTTPError:
                    time.sleep(0.01)
                    continue
                if reply.status_code == 201:
                    self.accepted.append(reply.json()["id"])


class Kill:
    """One kill of the yard: when, what was on the disk then, and whether the workers died with it."""

    def __init__(self, yard: Yard, *, workers_too: bool) -> None:
        self.both = workers_too
        if workers_too:
            kill_all(yard)
        else:
            yard.kill()
        self.at = time.time_ns() // 1000
        going = {key: row["instance_id"] for key, row in yard.rows().items() if row["completed_at"] is None}
        self.held = {key: instance for key, instance in going.items() if instance is not None}
        self.waiting = going.keys() - self.held.keys()


def runs_by_number(mark: Path) -> dict[int, list[int]]:
    """When each prediction's runs began, by the number in its input; microseconds since 1970."""
    found: dict[int, list[int]] = {}
    for line in mark.read_text().splitlines():
        number, at = line.split()
        found.setdefault(int(number), []).append(int(at))
    return found


def check_row(row: dict[str, Any], began: list[int], kills: list[Kill]) -> None:
    """A prediction runs once, and once more for each time that yard and worker died together under it.

    Its row counts every run, but one that nobody came to write down before both died.
    """
    told = (row, began, [(kill.at, kill.both, row["id"] in kill.held, row["id"] in kill.waiting) for kill in kills])
    deaths = [kill for kill in kills if kill.both]
    lives = Counter(sum(kill.at < at for kill in deaths) for at in began)
    assert max(lives.values()) == 1, told
    assert max(began) <= row["completed_at"], told
    lost = len({kill.held[row["id"]] for kill in deaths if row["id"] in kill.held})
    uncounted = sum(lives[number] and row["id"] in kill.waiting for number, kill in enumerate(deaths))
    assert len(began) <= row["attempts"] + uncounted, told
    if row["status"] == "failed":
        assert (row["attempts"], lost) == (3, 3), told
        assert "it is not tried again" in row["error"], told
    else:
        assert row["status"] == "succeeded", told
        assert row["attempts"] == 1 + lost, told
        assert json.loads(row["output"]) == str(json.loads(row["input"])["number"]), told


@pytest.mark.timeout(400)
def test_a_thousand_accepted_predictions_survive_twenty_kills(make_yard: Callable[..., Yard], tmp_path: Path) -> None:
    yard = make_yard().start()
    mark = tmp_path / "runs"
    load = Load(yard, yard.push("quick", QUICK), mark)
    dice = random.Random(7)
    kills: list[Kill] = []
    loader = threading.Thread(target=load.run)
    loader.start()
    try:
        for number in range(KILLS):
            load.allow = ACCEPTED * (number + 1) // KILLS
            time.sleep(dice.uniform(0.05, 0.6))
            kills.append(Kill(yard, workers_too=dice.random() < 0.3))
            yard.start()
        loader.join(200)
    finally:
        load.done.set()
        loader.join(30)
    assert len(load.accepted) == len(set(load.accepted)) == ACCEPTED
    assert set(load.accepted) <= yard.rows().keys()
    until(lambda: all(row["completed_at"] is not None for row in yard.rows().values()), 120)
    rows = yard.rows()
    seen = {prediction_id: yard.get(prediction_id) for prediction_id in rows}
    began = runs_by_number(mark)
    for prediction_id, row in rows.items():
        check_row(row, began[json.loads(row["input"])["number"]], kills)
        assert (seen[prediction_id]["status"], seen[prediction_id]["error"]) == (row["status"], row["error"])
    assert any(kill.held for kill in kills), "no kill hit a running prediction"
    yard.kill()
    yard.start()
    assert {prediction_id: yard.get(prediction_id) for prediction_id in rows} == seen
    assert yard.rows() == rows
    assert runs_by_number(mark) == began


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
