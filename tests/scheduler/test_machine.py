"""The machine with real workers: from zero and back, turns, cancels, deadlines, adoption."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelyard.db.base import Database
from modelyard.models.service import Models
from modelyard.predictions.record import Status
from modelyard.scheduler import statements
from modelyard.scheduler.autoscale import Bounds
from modelyard.scheduler.scheduler import STOPPED_WITH_YARD
from tests.scheduler.machine import ONE_GPU, Machine

HELLO = """
from cog import BaseRunner
class Runner(BaseRunner):
    def setup(self):
        self.runs = 0
    def run(self, text: str = "you") -> str:
        self.runs += 1
        return f"{text} {self.runs}"
"""
STEPS = """
import time
from typing import Iterator
from cog import BaseRunner
class Runner(BaseRunner):
    def run(self, steps: int = 5, seconds: float = 0.05) -> Iterator[str]:
        for step in range(steps):
            print("step", step)
            yield str(step)
            time.sleep(seconds)
"""
ASYNC = """
import asyncio, cog
from cog import BaseRunner
class Runner(BaseRunner):
    @cog.concurrent(max=8)
    async def run(self, seconds: float = 0.2) -> str:
        print("sleeping", seconds)
        await asyncio.sleep(seconds)
        return "slept"
"""


@pytest.fixture
async def machine(db: Database, tmp_path: Path) -> AsyncIterator[Machine]:
    machine = await Machine(db=db, folder=tmp_path).open()
    yield machine
    await machine.close()


async def test_setup_runs_once_and_many_predictions_follow(machine: Machine) -> None:
    machine.add("hello", HELLO)
    outputs = [(await machine.run("hello", b'{"text":"a"}')).output for _ in range(3)]
    assert outputs == [b'"a 1"', b'"a 2"', b'"a 3"']
    assert machine.instances() == ["hello:idle"]


async def test_an_instance_without_work_goes_after_its_time(machine: Machine) -> None:
    machine.bounds = Bounds(idle_timeout_seconds=0.3)
    machine.add("hello", HELLO)
    await machine.run("hello")
    await machine.until(lambda: machine.instances() == [])
    assert (await machine.run("hello")).output == b'"you 1"'


async def test_tokens_and_logs_are_seen_while_they_are_made(machine: Machine) -> None:
    machine.add("steps", STEPS)
    live = machine.create("steps", b'{"steps":20}')
    await machine.until(lambda: live.journal.items >= 2)
    assert live.record.status is Status.PROCESSING
    assert live.present().logs.startswith("step 0\n")
    assert await live.finished(10)
    assert json.loads(live.record.output or b"") == [str(step) for step in range(20)]
    assert live.record.logs == "".join(f"step {step}\n" for step in range(20))


async def test_an_async_model_runs_several_at_once_and_keeps_their_logs_apart(machine: Machine) -> None:
    machine.add("async", ASYNC)
    await machine.run("async", b'{"seconds":0}')
    loop = asyncio.get_running_loop()
    began = loop.time()
    lives = [machine.create("async", b'{"seconds":%d.5}' % (number // 8)) for number in range(8)]
    assert all([await live.finished(10) for live in lives])
    assert loop.time() - began < 8 * 0.5
    assert {live.record.logs for live in lives} == {"sleeping 0.5\n"}
    assert machine.instances() == ["async:idle"]


async def test_models_take_turns_on_one_gpu(db: Database, tmp_path: Path) -> None:
    machine = await Machine(db=db, folder=tmp_path, inventory=ONE_GPU).open()
    try:
        for name in ("one", "two", "three"):
            machine.add(name, HELLO, sku="gpu")
        for _ in range(2):
            for name in ("one", "two", "three"):
                assert (await machine.run(name)).status is Status.SUCCEEDED
                assert machine.instances() == [f"{name}:idle"]
    finally:
        await machine.close()


async def test_a_waiting_prediction_is_canceled_at_once(machine: Machine) -> None:
    machine.bounds = Bounds(max_instances=1)
    machine.add("steps", STEPS)
    first = machine.create("steps", b'{"steps":100}')
    await machine.until(lambda: first.journal.items > 0)
    second = machine.create("steps", b"{}")
    record = await machine.predictions.cancel(second.id)
    assert record is not None
    assert record.status is Status.CANCELED
    assert record.started_at is None
    await machine.predictions.cancel(first.id)
    assert await first.finished(5)
    assert first.record.status is Status.CANCELED
    assert json.loads(first.record.output or b"[]")[:1] == ["0"]


async def test_a_deadline_aborts_what_waits_and_cancels_what_runs(machine: Machine) -> None:
    machine.bounds = Bounds(max_instances=1)
    machine.add("steps", STEPS)
    running = machine.create("steps", b'{"steps":1000}', cancel_after_seconds=1.5)
    await machine.until(lambda: running.journal.items > 0)
    waiting = machine.create("steps", b"{}", cancel_after_seconds=0.2)
    assert await waiting.finished(5)
    assert waiting.record.status is Status.ABORTED
    assert await running.finished(10)
    assert running.record.status is Status.CANCELED


async def test_a_run_that_takes_too_long_fails(machine: Machine) -> None:
    machine.add("steps", STEPS)
    record = await machine.run("steps", b'{"steps":1000}', run_timeout_seconds=0.6)
    assert record.status is Status.FAILED
    assert "timed out" in (record.error or "")
    assert (await machine.run("steps")).status is Status.SUCCEEDED


async def test_another_life_of_the_yard_adopts_workers_with_what_they_run(db: Database, tmp_path: Path) -> None:
    machine = await Machine(db=db, folder=tmp_path).open()
    machine.add("steps", STEPS)
    live = machine.create("steps", b'{"steps":60}')
    await machine.until(lambda: live.journal.items > 3)
    waiting = machine.create("steps", b'{"steps":1}')
    await waiting.committed()
    (before,) = machine.scheduler.fleet.instances
    await machine.close(stop_instances=False)
    await machine.open()
    try:
        adopted = machine.predictions.lives[live.id]
        assert await adopted.finished(20)
        assert adopted.record.status is Status.SUCCEEDED, adopted.record
        assert adopted.record.attempts == 1
        assert json.loads(adopted.record.output or b"") == [str(step) for step in range(60)]
        assert adopted.record.logs == "".join(f"step {step}\n" for step in range(60))
        assert before in machine.scheduler.fleet.instances
        await machine.until(lambda: waiting.id not in machine.predictions.lives)
        record = await machine.predictions.get(waiting.id)
        assert record is not None
        assert record.status is Status.SUCCEEDED
    finally:
        await machine.close()


@pytest.mark.parametrize("ready", [True, False], ids=["ready", "starting"])
async def test_an_instance_that_ends_with_its_yard_was_stopped_and_has_not_failed(
    db: Database, tmp_path: Path, ready: bool
) -> None:
    machine = await Machine(db=db, folder=tmp_path).open()
    machine.add("model", HELLO if ready else "import time\ntime.sleep(60)")
    if ready:
        await machine.run("model")
    live = None if ready else machine.create("model")
    (instance,) = await started(machine)
    await machine.close()
    async with asyncio.timeout(10):
        while (row := await db.one(statements.ENDED_INSTANCE, id=instance)) is None:
            await asyncio.sleep(0.02)
    assert (row["state"], row["error"]) == ("stopped", STOPPED_WITH_YARD)
    assert f"stopped: {STOPPED_WITH_YARD}" in (tmp_path / "instances" / instance / "instance.log").read_text()
    if live is not None:
        # It waits for the next yard, and did not fail with a setup that was never ended by itself.
        record = await machine.predictions.get(live.id)
        assert record is not None
        assert record.status is Status.STARTING


async def started(machine: Machine) -> list[str]:
    """The ids of its instances, once one has a process."""
    await machine.until(lambda: any(each.process_started for each in machine.scheduler.fleet.instances.values()))
    return list(machine.scheduler.fleet.instances)


async def test_a_waiting_backlog_beyond_memory_is_worked_off(machine: Machine) -> None:
    machine.add("hello", HELLO)
    ids = [machine.create("hello", b'{"text":"%d"}' % number).id for number in range(3000)]
    await machine.until(lambda: not machine.predictions.lives, 60)
    for prediction_id in ids[::100]:
        record = await machine.predictions.get(prediction_id)
        assert record is not None
        assert record.status is Status.SUCCEEDED


async def test_a_broken_setup_fails_what_waits_from_before_a_restart_too(db: Database, tmp_path: Path) -> None:
    machine = Machine(db=db, folder=tmp_path)
    machine.add("broken", "raise RuntimeError('no weights here')")
    machine.models["absent"] = machine.models.pop("broken")
    await machine.open()
    machine.scheduler._dispatcher.open = False
    machine.scheduler._reconciler.tick = lambda: None  # type: ignore[method-assign]
    waiting = [machine.create("absent") for _ in range(3)]
    for live in waiting:
        await live.committed()
    await machine.close()
    await machine.open()
    try:
        for live in waiting:
            assert live.id not in machine.predictions.lives
        for live in waiting:

            async def ended(prediction_id: str = live.id) -> bool:
                record = await machine.predictions.get(prediction_id)
                return record is not None and record.status is Status.FAILED

            async with asyncio.timeout(20):
                while not await ended():
                    await asyncio.sleep(0.05)
    finally:
        await machine.close()


async def test_a_version_that_could_not_start_is_no_trouble_when_it_is_deleted(machine: Machine) -> None:
    machine.add("broken", "raise RuntimeError('no weights here')")
    machine.add("worse", "raise RuntimeError('no weights there')")
    models = Models(machine.db, lambda: 1)
    models.on_deleted.append(machine.scheduler.forget_trouble)
    model = await models.create("o", "broken")
    await models.add_version(model.id, "v", {}, {}, "")
    machine.models[model.id] = machine.models["broken"]
    for each in (model.id, "worse"):
        assert (await machine.run(each)).status is Status.FAILED

    def troubled() -> set[str]:
        return {pool.model_id for pool in machine.scheduler.view.observe().pools if pool.problem}

    assert troubled() == {model.id, "worse"}
    await models.delete_version(model, "v")
    await machine.until(lambda: troubled() == {"worse"})
