"""A real supervisor over a real worker, for a `with` block of an asynchronous test."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from harness import BOX, MODELS

from modelyard_runner import frames
from modelyard_runner.supervisor import Supervisor

COMMAND = [sys.executable, "-m", "modelyard_runner", "worker"]
TERMINAL = (frames.Done, frames.Failed, frames.Canceled)


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.frames: list[frames.Frame] = []
        self.end: asyncio.Future[frames.Frame] = asyncio.get_running_loop().create_future()
        self._changed = asyncio.Event()

    def __call__(self, frame: frames.Frame) -> None:
        self.frames.append(frame)
        self._changed.set()
        if isinstance(frame, TERMINAL):
            self.end.set_result(frame)

    async def until(self, kind: type[frames.Frame]) -> frames.Frame:
        """The first frame of a kind."""
        while True:
            for frame in self.frames:
                if isinstance(frame, kind):
                    return frame
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 30)


async def run(supervisor: Supervisor, value: Any = None, name: str = "p1", **options: Any) -> frames.Frame:
    """One prediction from start to end; gives its last frame."""
    heard = Heard()
    supervisor.predict(name, json.dumps(value or {}).encode(), None, heard, **options)
    return await asyncio.wait_for(heard.end, 30)


@contextlib.asynccontextmanager
async def supervised(
    ref: str, *, root: Path = MODELS, ready: bool = True, command: list[str] | None = None, **options: Any
) -> AsyncIterator[Supervisor]:
    """A supervisor whose worker is set up, unless told otherwise."""
    home = Path(tempfile.mkdtemp(prefix="supervised-"))
    worker: dict[str, Any] = {"ref": ref, "root": str(root), "mode": options.pop("mode", "predict")}
    worker["concurrency"] = options.pop("concurrency", None)
    worker["mounts"] = options.pop("mounts", None)
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": BOX, "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(home)}
    env |= options.pop("env", {})
    supervisor = Supervisor(command or COMMAND, worker, env=env, scratch=home / "scratch", **options)
    try:
        await supervisor.start()
        if ready:
            state = await asyncio.wait_for(supervisor.settled(), 30)
            assert state == "READY", supervisor.setup_logs
        yield supervisor
    finally:
        await supervisor.stop()
        shutil.rmtree(home, ignore_errors=True)
