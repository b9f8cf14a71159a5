"""Trainings of images that the real Cog built: the Docker engine starts them to train, their driver trains them."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker_images
import pytest
from deaths import Deaths

from modelyard.engines.base import Image, Limits, Spec
from modelyard.engines.docker.connection import Connection, address
from modelyard.engines.docker.container import Site
from modelyard.engines.docker.engine import DockerEngine, own_user
from modelyard.packaging import box
from modelyard_runner import protocol

SOURCE = """
import os, sys, time
from cog import BaseModel, BasePredictor, Input, Path


class Trained(BaseModel):
    weights: Path
    steps: int


class Runner(BasePredictor):
    def predict(self, text: str) -> str:
        return "predicted " + text


def train(data: Path, steps: int = Input(default=2, ge=1, le=5), rest: float = 0.0) -> Trained:
    for step in range(steps):
        print("step", step, flush=True)
    if rest == 13:
        print("about to fail", file=sys.stderr)
        raise ValueError("no convergence")
    if rest == 9:
        os.kill(os.getpid(), 9)
    until = time.time() + rest
    while time.time() < until:
        time.sleep(0.02)
    with open("/tmp/weights.bin", "w") as out:
        out.write(open(data).read() * steps)
    return Trained(weights=Path("/tmp/weights.bin"), steps=steps)
"""
IMAGE = "modelyard-test/cog-train:1"
TERMINAL = ("done", "failed", "canceled")
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]

Frame = dict[str, Any]


@pytest.fixture(scope="module")
def image() -> str:
    if problem := docker_images.problem():
        pytest.skip(problem)
    return docker_images.of_cog({"run.py": SOURCE}, IMAGE, train="run.py:train")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below /tmp, which is another folder in a container."""
    folder = Path(tempfile.mkdtemp(prefix="yard-", dir="/var/tmp"))
    yield folder
    shutil.rmtree(folder)


class Trainer:
    """An instance of the image, and the yard's end of its link."""

    def __init__(self, folder: Path, image: str, mode: str) -> None:
        self.deaths = Deaths()
        self.frames: list[Frame] = []
        self._folder = folder
        self._site = Site(yard=f"test-{os.getpid()}-{folder.name}"[:40], user=own_user(), socket=None)
        self._engine = DockerEngine(
            connection=Connection(address(os.environ)),
            folder=folder / "instances",
            site=self._site,
            box=box.paths(),
            on_exit=self.deaths,
        )
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / "link"))
        self._listener.listen(1)
        self._listener.setblocking(False)
        self._spec = Spec(
            instance="trainer",
            python=Path("python"),
            source=Path("/src"),
            ref="run.py:Runner",
            scratch=folder / "instances" / "trainer",
            cache=folder / "cache",
            link=f"unix:{folder / 'link'}",
            token="t",
            limits=Limits(memory_bytes=2**30, cpus=1),
            mode=mode,
            reconnect_seconds=0,
            image=Image(reference=image, speaks_link=False),
        )
        self._decoder = protocol.Decoder()
        self._link: socket.socket | None = None

    async def start(self) -> None:
        await self._engine.start(self._spec)
        loop = asyncio.get_running_loop()
        self._link, _ = await asyncio.wait_for(loop.sock_accept(self._listener), 60)
        await self.until(lambda frame: frame["kind"] in ("ready", "setup_failed"))
        assert self.frames[-1]["kind"] == "ready", self.frames

    async def until(self, wanted: Callable[[Frame], bool], seconds: float = 60) -> Frame:
        """The first frame that is wanted, of those that came or come."""
        async with asyncio.timeout(seconds):
            while not (found := [frame for frame in self.frames if wanted(frame)]):
                assert self._link is not None
                data = await asyncio.get_running_loop().sock_recv(self._link, 2**20)
                assert data, f"the link ended: {self.frames}"
                self.frames += self._decoder.feed(data)
        return found[0]

    async def send(self, **frame: Any) -> None:
        assert self._link is not None
        await asyncio.get_running_loop().sock_sendall(self._link, protocol.encode(frame))

    async def train(self, name: str, *, kind: str = "train", **values: Any) -> None:
        data = self._folder / "data.txt"
        data.write_text("abc")
        given = {"data": "https://yard/data.txt", **values} if kind == "train" else values
        await self.send(kind=kind, id=name, input=given, files={"https://yard/data.txt": str(data)})

    async def end_of(self, name: str) -> Frame:
        return await self.until(lambda frame: frame["kind"] in TERMINAL and frame["id"] == name)

    def said(self, name: str) -> str:
        return "".join(each["text"] for each in self.frames if each["kind"] == "log" and each.get("id") == name)

    async def close(self) -> None:
        for handle in await self._engine.list():
            await self._engine.stop(handle.instance, 0)
        await self._engine.close()
        for each in (self._link, self._listener):
            if each is not None:
                each.close()
        left = docker_images.docker("ps", "-aq", "--filter", f"label=org.modelyard.yard={self._site.yard}")
        networks = docker_images.docker("network", "ls", "-q", "--filter", f"name={self._site.network}")
        assert not left, "containers were left behind"
        assert not networks, "the network was left behind"


@pytest.fixture
async def trainer(folder: Path, image: str) -> AsyncIterator[Trainer]:
    trainer = Trainer(folder, image, "train")
    try:
        await trainer.start()
        yield trainer
    finally:
        await trainer.close()


async def test_a_training_gets_its_files_tells_what_it_prints_and_gives_its_files(trainer: Trainer) -> None:
    await trainer.train("one", steps=3)
    done = await trainer.end_of("one")
    assert done["kind"] == "done", done
    assert done["output"]["steps"] == 3
    (file,) = done["files"]
    assert Path(file["path"]).read_text() == "abc" * 3
    assert trainer.said("one") == "step 0\nstep 1\nstep 2\n"
    # One after the other, each with what is its own.
    await trainer.train("two", steps=1)
    assert (await trainer.end_of("two"))["kind"] == "done"
    assert trainer.said("two") == "step 0\n"


async def test_what_a_training_prints_is_told_while_it_runs_and_it_is_canceled(trainer: Trainer) -> None:
    await trainer.train("long", rest=600)
    await trainer.until(lambda frame: frame["kind"] == "log" and frame.get("id") == "long")
    await trainer.send(kind="cancel", id="long")
    assert (await trainer.end_of("long"))["kind"] == "canceled"
    await trainer.train("next")
    assert (await trainer.end_of("next"))["kind"] == "done"


async def test_a_training_that_fails_says_why_and_an_input_that_does_not_fit_is_named(trainer: Trainer) -> None:
    await trainer.train("failing", rest=13)
    failed = await trainer.end_of("failing")
    assert (failed["kind"], failed["error"]) == ("failed", "ValueError: no convergence")
    assert "about to fail" in trainer.said("failing")
    await trainer.train("wrong", steps=9)
    refused = await trainer.end_of("wrong")
    assert refused["kind"] == "failed"
    assert "steps" in refused["error"]
    assert "5" in refused["error"]
    await trainer.train("unfinished", data=None)
    missing = await trainer.end_of("unfinished")
    assert missing["kind"] == "failed"
    assert "data" in missing["error"]


async def test_a_training_whose_process_dies_ends_its_instance_with_the_reason(trainer: Trainer) -> None:
    await trainer.train("dying", rest=9)
    assert await trainer.deaths.of("trainer") == "the process of the model crashed"


async def test_a_prediction_is_refused_by_what_trains_and_a_training_by_what_predicts(
    folder: Path, image: str, trainer: Trainer
) -> None:
    await trainer.train("other", kind="predict", text="x")
    refused = await trainer.end_of("other")
    assert refused["kind"] == "failed"
    assert "was started to train" in refused["error"]
    (folder / "more").mkdir()
    predictor = Trainer(folder / "more", image, "predict")
    predictor._spec = replace(predictor._spec, instance="predictor", scratch=folder / "more/instances/predictor")
    try:
        await predictor.start()
        await predictor.train("p", kind="predict", text="x")
        assert (await predictor.end_of("p"))["output"] == "predicted x"
        await predictor.train("t")
        refused = await predictor.end_of("t")
        assert refused["kind"] == "failed"
        assert "was started to predict" in refused["error"]
    finally:
        await predictor.close()
