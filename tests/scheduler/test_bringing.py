"""Files of an input that are brought to this machine before a worker is told of them, as with blobs in a bucket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from modelyard import errors
from modelyard.db.base import Database
from modelyard.predictions.record import Status
from modelyard.scheduler.reconcile import BEGUN_SECONDS, TICK_SECONDS
from modelyard_runner.protocol import INLINE_LIMIT
from tests.scheduler.machine import Machine

READ = """
from cog import BaseRunner, Path
class Runner(BaseRunner):
    def run(self, file: Path = None) -> str:
        return "none" if file is None else file.read_text()
"""
ADDRESS = "https://yard.example.org/v1/files/01abc"
INPUT = b'{"file":"https://yard.example.org/v1/files/01abc"}'


@pytest.fixture
async def machine(db: Database, tmp_path: Path) -> AsyncIterator[Machine]:
    machine = await Machine(db=db, folder=tmp_path).open()
    machine.add("read", READ)
    yield machine
    await machine.close()


async def test_a_file_is_there_when_the_worker_is_told_of_it(machine: Machine, tmp_path: Path) -> None:
    async def bring(files: Mapping[str, str]) -> None:
        await asyncio.sleep(0.05)
        Path(files[ADDRESS]).write_text("brought")

    machine.predictions.bring = bring
    done = await machine.run("read", INPUT, input_files={ADDRESS: str(tmp_path / "copy.txt")})

    assert done.output == b'"brought"', done


async def test_the_time_that_a_file_takes_to_come_is_not_the_runs(machine: Machine, tmp_path: Path) -> None:
    met = []

    async def bring(files: Mapping[str, str]) -> None:
        await asyncio.sleep(BEGUN_SECONDS + 3 * TICK_SECONDS)
        met.append(machine.predictions.lives[live.id].record.status)
        Path(files[ADDRESS]).write_text("brought")

    machine.predictions.bring = bring
    live = machine.create(
        "read", INPUT, input_files={ADDRESS: str(tmp_path / "copy.txt")}, run_timeout_seconds=BEGUN_SECONDS
    )

    assert await live.finished(30)
    assert live.record.output == b'"brought"', live.record
    assert met == [Status.STARTING]


@pytest.mark.parametrize("met", [errors.NotFound("there is no blob files/01abc"), OSError("nobody answers")])
async def test_a_file_that_cannot_be_brought_fails_its_prediction_and_no_other(
    machine: Machine, met: Exception
) -> None:
    async def bring(files: Mapping[str, str]) -> None:
        raise met

    machine.predictions.bring = bring
    waiting = machine.create("read", INPUT, input_files={ADDRESS: "/absent"})
    after = machine.create("read")

    assert await waiting.finished(30)
    assert waiting.record.status is Status.FAILED
    assert waiting.record.error == f"A file of the input could not be fetched: {met}"
    assert await after.finished(30)
    assert after.record.output == b'"none"'
    assert machine.instances() == ["read:idle"]


async def test_what_is_canceled_while_its_file_is_brought_never_runs(machine: Machine) -> None:
    began = asyncio.Event()

    async def bring(files: Mapping[str, str]) -> None:
        began.set()
        await asyncio.Event().wait()

    machine.predictions.bring = bring
    live = machine.create("read", INPUT, input_files={ADDRESS: "/absent"})
    await asyncio.wait_for(began.wait(), 30)
    await machine.predictions.cancel(live.id)

    assert await live.finished(5)
    assert live.record.status is Status.CANCELED
    assert (await machine.run("read")).output == b'"none"'


async def test_an_input_that_cannot_be_stored_fails_its_prediction_alone(machine: Machine, tmp_path: Path) -> None:
    first = await machine.run("read")
    folder = tmp_path / "instances" / str(first.instance_id) / "inputs"
    if folder.exists():
        folder.rmdir()
    folder.write_text("in its way")

    failed = await machine.run("read", b'{"file":"data:,%b"}' % (b"x" * INLINE_LIMIT))

    assert failed.status is Status.FAILED
    assert failed.error == "The input could not be stored: File exists"
    assert (await machine.run("read")).output == b'"none"'
    assert machine.instances() == ["read:idle"]
