"""More than one instance of a model, with real workers: started by a backlog, gone when there is no work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from modelyard.db.base import Database, Statement
from modelyard.predictions.live import Live
from modelyard.predictions.record import Status
from modelyard.scheduler.autoscale import Bounds
from modelyard.scheduler.placement import Inventory
from tests.scheduler.machine import GIB, ONE_GPU, Machine

SLOW = """
import time
from cog import BaseRunner
class Runner(BaseRunner):
    def run(self, seconds: float = 0.4) -> str:
        time.sleep(seconds)
        return "ran"
"""
# Hardware `cpu` takes one core: two instances of it fit, a third does not.
ROOM_FOR_TWO = Inventory(cores=1, memory_bytes=16 * GIB, cpu_share=2.0)
INSTANCES = Statement("instances_of_test", "SELECT id, state FROM instances ORDER BY created_at")


@pytest.fixture
async def make_machine(db: Database, tmp_path: Path) -> AsyncIterator[Callable[[Inventory, Bounds], Machine]]:
    made: list[Machine] = []

    def make(inventory: Inventory, bounds: Bounds) -> Machine:
        made.append(Machine(db=db, folder=tmp_path, inventory=inventory, bounds=bounds))
        return made[-1]

    yield make
    for machine in made:
        await machine.close()


async def work_off(machine: Machine, backlog: list[Live]) -> int:
    """Wait until all of it has succeeded; gives the greatest number of instances that was seen meanwhile."""
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, len(machine.scheduler.fleet.instances))
        return all(live.record.terminal for live in backlog)

    await machine.until(done, 60)
    assert {live.record.status for live in backlog} == {Status.SUCCEEDED}
    return most


async def test_a_backlog_before_a_slow_model_starts_a_second_instance_and_both_go_when_idle(
    make_machine: Callable[[Inventory, Bounds], Machine],
) -> None:
    bounds = Bounds(max_instances=4, idle_timeout_seconds=0.5, scale_up_delay_seconds=0.3)
    machine = await make_machine(ROOM_FOR_TWO, bounds).open()
    machine.add("slow", SLOW)
    backlog = [machine.create("slow") for _ in range(12)]
    await machine.until(lambda: machine.instances() == ["slow:busy", "slow:busy"])
    assert await work_off(machine, backlog) == 2
    shares = [live.record.instance_id for live in backlog]
    assert len(set(shares)) == 2
    assert min(shares.count(instance) for instance in shares) > 1
    await machine.until(lambda: machine.instances() == [])
    states: dict[str, str] = {}
    async with asyncio.timeout(15):
        while set(states.values()) != {"stopped"}:
            await asyncio.sleep(0.02)
            states = {row["id"]: row["state"] for row in await machine.db.all(INSTANCES)}
    assert states.keys() == set(shares)
    assert (await machine.run("slow", b'{"seconds":0}')).status is Status.SUCCEEDED


async def test_a_backlog_that_is_young_or_that_one_instance_may_have_starts_no_second_one(
    make_machine: Callable[[Inventory, Bounds], Machine],
) -> None:
    machine = await make_machine(ROOM_FOR_TWO, Bounds(scale_up_delay_seconds=60)).open()
    machine.add("slow", SLOW)
    assert await work_off(machine, [machine.create("slow") for _ in range(6)]) == 1
    machine.add("alone", SLOW)
    machine.bounds = Bounds(max_instances=1, scale_up_delay_seconds=0.1)
    backlog = [machine.create("alone") for _ in range(4)]
    assert await work_off(machine, backlog) == 2  # that of the first model, and one of this
    assert len({live.record.instance_id for live in backlog}) == 1


async def test_a_model_that_has_a_full_host_to_itself_keeps_its_instance_while_its_backlog_is_worked_off(
    make_machine: Callable[[Inventory, Bounds], Machine],
) -> None:
    machine = await make_machine(ONE_GPU, Bounds()).open()
    machine.add("slow", SLOW, sku="gpu")
    # Longer than a model waits for another one to give way: here there is no other.
    backlog = [machine.create("slow", b'{"seconds":1}') for _ in range(7)]
    await work_off(machine, backlog)
    assert len({live.record.instance_id for live in backlog}) == 1
