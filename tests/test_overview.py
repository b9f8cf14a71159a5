"""The yard as a whole, on both databases: counts that are right, a disk that is measured, health that is said."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from modelyard.db.base import Database
from modelyard.models.service import Models
from modelyard.overview import Overview
from modelyard.predictions import statements
from modelyard.predictions.record import Prediction, Status
from modelyard.scheduler import statements as instances
from modelyard.scheduler.fleet import Fleet

pytestmark = pytest.mark.anyio
NOW = 1_700_000_000_000_000


class Time:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def make(db: Database, data: Path, monotonic: Time, **options: Any) -> Overview:
    return Overview(db, data, version="1.2.3", started_at=NOW, monotonic=monotonic, **options)


async def keep(db: Database, number: int, status: Status) -> None:
    record = Prediction(
        id=f"{number:026d}",
        account_id="a",
        model_id="m",
        model="ada/hello",
        version_id="1" * 64,
        status=status,
        created_at=NOW,
    )
    await db.run(statements.INSERT, statements.values(record))


async def test_all_is_counted_and_what_has_not_ended_is_counted_anew(db: Database, tmp_path: Path) -> None:
    time = Time()
    overview = make(db, tmp_path, time)
    models = Models(db, lambda: NOW)
    model = await models.create("ada", "hello")
    await models.add_version(model.id, "1" * 64, {}, {}, "0.16")
    await models.add_version(model.id, "2" * 64, {}, {}, "0.16")
    await models.delete_version(model, "2" * 64)
    for number, status in enumerate([Status.FAILED, Status.SUCCEEDED, Status.SUCCEEDED, Status.STARTING]):
        await keep(db, number, status)
    counts = await overview.counts()
    assert (counts.models, counts.versions) == (1, 1)
    assert counts.predictions == {
        "starting": 1, "processing": 0, "succeeded": 2, "failed": 1, "canceled": 0, "aborted": 0,
    }  # fmt: skip
    await keep(db, 9, Status.PROCESSING)
    assert (await overview.counts()).predictions["processing"] == 1


async def test_the_disk_is_measured_and_a_file_with_two_names_counts_once(db: Database, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "blobs" / "deep").mkdir(parents=True)
    (data / "store").mkdir()
    (data / "blobs" / "deep" / "one").write_bytes(b"x" * 100_000)
    os.link(data / "blobs" / "deep" / "one", data / "blobs" / "two")
    (data / "yard.db").write_bytes(b"x" * 10_000)
    (data / "blobs" / "nowhere").symlink_to(tmp_path / "nowhere")
    time = Time()
    overview = make(db, data, time)
    disk = await overview.disk()
    assert disk.folders is not None
    assert 100_000 <= disk.folders["blobs"] < 200_000
    assert disk.folders["database"] >= 10_000
    assert disk.folders["store"] == 0
    assert 0 < disk.free < disk.total
    (data / "store" / "three").write_bytes(b"x" * 50_000)
    assert (await overview.disk()).folders == disk.folders, "it is not measured at every look"
    time.seconds += 2
    later = (await overview.disk()).folders
    assert later is not None
    assert later["store"] >= 50_000


async def test_those_who_ask_at_once_wait_for_one_answer(db: Database, tmp_path: Path) -> None:
    overview = make(db, tmp_path, Time())
    disks = await asyncio.gather(*(overview.disk() for _ in range(20)))
    assert len({id(disk.folders) for disk in disks}) == 1


async def test_health_says_what_is_refused(db: Database, tmp_path: Path) -> None:
    well = make(db, tmp_path, Time())
    assert (well.status, well.problems()) == ("ready", [])
    full = make(db, tmp_path, Time(), has_room=lambda: False)
    assert full.status == "degraded"
    assert "disk is nearly full" in full.problems()[0]
    stopping = make(db, tmp_path, Time(), stopping=lambda: True)
    assert stopping.status == "stopping"
    assert "nothing new is started" in stopping.problems()[0]


async def test_instances_that_ended_are_remembered_for_a_while(db: Database) -> None:
    models = Models(db, lambda: NOW)
    ours, theirs = await models.create("ada", "one"), await models.create("bob", "two")
    fleet = Fleet(db=db, node="n", clock=lambda: NOW, monotonic=Time(), engine="process")
    for number, (model, stopped_at) in enumerate(
        [(ours, NOW - 1), (theirs, NOW - 5), (ours, NOW - 90_000_000), (ours, None)]
    ):
        values = {
            "id": f"{number:026d}", "node": "n", "pool": "p", "model_id": model.id, "version_id": "1" * 64,
            "engine": "process", "state": "starting", "token_hash": str(number), "hardware": "cpu",
            "memory_bytes": 1024, "cpus": 1.0, "gpus": json.dumps(["GPU-1"]), "created_at": NOW - 10,
        }  # fmt: skip
        await db.run(instances.ADD_INSTANCE, values)
        if stopped_at is not None:
            ended = {"id": values["id"], "state": "failed", "stopped_at": stopped_at, "error": "out of memory"}
            await db.run(instances.END_INSTANCE, ended)
    assert [int(one.id) for one in await fleet.ended(owner=None, limit=10)] == [0, 1, 2]
    assert [int(one.id) for one in await fleet.ended(owner="ada", limit=1)] == [0]
    past = await fleet.past("0" * 26)
    assert past is not None
    assert (past.state, past.error, past.gpus, past.ready_at) == ("failed", "out of memory", ("GPU-1",), None)
    assert await fleet.past(f"{3:026d}") is None
