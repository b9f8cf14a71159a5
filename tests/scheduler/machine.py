"""A whole machine without doors: database, predictions, scheduler, real workers of models written here."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.blobs.disk import DiskBlobs
from modelyard.db.base import Database
from modelyard.engines.process import ProcessEngine
from modelyard.packaging import box
from modelyard.predictions.live import Live
from modelyard.predictions.outputs import Outputs
from modelyard.predictions.ports import NewPrediction
from modelyard.predictions.progress import Progress
from modelyard.predictions.record import Prediction
from modelyard.predictions.service import Predictions
from modelyard.scheduler.autoscale import Bounds
from modelyard.scheduler.hardware import catalogue
from modelyard.scheduler.instance import Key
from modelyard.scheduler.placement import Gpu, Hardware, Inventory
from modelyard.scheduler.pool import Blueprint
from modelyard.scheduler.scheduler import Scheduler

GIB = 2**30
PLENTY = Inventory(cores=4, memory_bytes=16 * GIB)
ONE_GPU = Inventory(cores=8, memory_bytes=16 * GIB, gpus=(Gpu(uuid="GPU-0", memory_bytes=GIB),))


@dataclass
class Place:
    """A source folder that is not unpacked from anywhere."""

    source: Path
    python: Path = Path(sys.executable)
    folders: tuple[tuple[Path, str], ...] = ()
    released: bool = False
    image: None = None

    def release(self) -> None:
        self.released = True


@dataclass
class Machine:
    """One node's machine; `open` and `close` may be called over and over, as a yard that restarts."""

    db: Database
    folder: Path
    inventory: Inventory = PLENTY
    bounds: Bounds = field(default_factory=Bounds)
    models: dict[str, tuple[Path, Hardware]] = field(default_factory=dict)
    setup_timeout_seconds: float = 60

    async def open(self) -> Machine:
        blobs = DiskBlobs(self.folder / "blobs")
        self.outputs = Outputs(blobs, b"secret")
        self.predictions = Predictions(
            db=self.db, folder=self.folder / "journals", clock=lambda: time.time_ns() // 1000, node="here"
        )
        self.scheduler = Scheduler(
            db=self.db,
            predictions=self.predictions,
            progress=Progress(self.predictions, self.outputs),
            make_engine=lambda on_exit: ProcessEngine(
                folder=self.folder / "instances", box=box.paths(), inherited=os.environ, on_exit=on_exit
            ),
            inventory=self.inventory,
            describe=self.describe,
            adopt=lambda instance: None,
            sweep=lambda alive: None,
            folder=self.folder / "instances",
            link_path=self.folder / "link.sock",
            clock=lambda: time.time_ns() // 1000,
            monotonic=time.monotonic,
        )
        await self.scheduler.open()
        return self

    async def close(self, *, stop_instances: bool = True) -> None:
        await self.scheduler.close(stop_instances=stop_instances)

    def add(self, name: str, source: str, *, sku: str = "cpu") -> str:
        """A model named `name` with this `run.py`."""
        folder = self.folder / "sources" / name
        folder.mkdir(parents=True)
        (folder / "run.py").write_text(source)
        self.models[name] = (folder, catalogue(self.inventory)[sku])
        return name

    async def describe(self, key: Key) -> Blueprint:
        source, hardware = self.models[key[0]]

        async def prepare(instance: str, report: Callable[[str], None]) -> Place:
            return Place(source)

        return Blueprint(
            hardware=hardware,
            ref="run.py:Runner",
            cache=self.folder / "caches" / key[0],
            prepare=prepare,
            bounds=self.bounds,
            setup_timeout_seconds=self.setup_timeout_seconds,
        )

    def create(
        self, model: str, input: bytes = b"{}", *, account: str = "a", wait: bool = False, **values: object
    ) -> Live:
        new = NewPrediction(
            account_id=account,
            model_id=model,
            model=f"o/{model}",
            version_id="v",
            input=input,
            **values,  # type: ignore[arg-type]
        )
        return self.predictions.create(new, wait=wait)

    async def run(self, model: str, input: bytes = b"{}", **values: object) -> Prediction:
        live = self.create(model, input, **values)  # type: ignore[arg-type]
        assert await live.finished(30), live.record
        return live.record

    def instances(self) -> list[str]:
        return sorted(f"{i.key[0]}:{i.state.value}" for i in self.scheduler.fleet.instances.values())

    async def until(self, condition: Callable[[], bool], seconds: float = 15) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.instances()
            await asyncio.sleep(0.02)
