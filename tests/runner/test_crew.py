"""Several workers behind what looks like one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from supervised import COMMAND, Heard

from modelyard_runner import frames
from modelyard_runner.crew import Crew
from modelyard_runner.supervisor import AtCapacity, Supervisor
from tests.runner.harness import BOX

pytestmark = pytest.mark.anyio

MEETING = """
import os
import pathlib
import time

from cog import batch


@batch(max_size=2, max_wait_ms=600_000)
def run(text: list[str]) -> list[dict]:
    pathlib.Path(f"{os.getpid()}.here").touch()
    while len(list(pathlib.Path.cwd().glob("*.here"))) < 2:
        time.sleep(0.005)
    return [{"pid": os.getpid(), "all": text} for _ in text]
"""


async def test_each_of_several_workers_has_batches_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(MEETING)
    options = {"ref": "run.py:run", "root": str(tmp_path)}
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": BOX, "PYTHONDONTWRITEBYTECODE": "1"}
    crew = Crew(2, lambda scratch: Supervisor(COMMAND, options, env=env, scratch=scratch), tmp_path / "scratch")
    await crew.start()
    try:
        assert await asyncio.wait_for(crew.settled(), 30) == "READY"
        heard = [Heard() for _ in range(8)]
        for number, listener in enumerate(heard):
            crew.predict(f"p{number}", json.dumps({"text": f"t{number}"}).encode(), None, listener)
        with pytest.raises(AtCapacity):
            crew.predict("p8", b'{"text":"x"}', None, Heard())
        # The first batch of each ends only when both run.
        ends = [await asyncio.wait_for(listener.end, 30) for listener in heard]
        outputs = [json.loads(bytes(end.output)) for end in ends if isinstance(end, frames.Done)]
        assert len({output["pid"] for output in outputs}) == 2
        assert [output["all"] for output in outputs] == [
            ["t0", "t2"], ["t1", "t3"], ["t0", "t2"], ["t1", "t3"],
            ["t4", "t6"], ["t5", "t7"], ["t4", "t6"], ["t5", "t7"],
        ]  # fmt: skip
    finally:
        await crew.stop()
