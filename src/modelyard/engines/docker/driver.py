"""The program that drives a container which Cog built, as a process of this host; see `modelyard_runner.driver`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from modelyard.engines.alive import started_at
from modelyard.engines.base import EngineError, Spec
from modelyard.engines.docker.log import NAME
from modelyard_runner.driver_api import END_FILE

FILE = "driver.json"
LOOK_SECONDS = 0.2


class Driver:
    """A driver that runs."""

    def __init__(self, folder: Path, pid: int, began: float, child: subprocess.Popen[bytes] | None = None) -> None:
        self._folder = folder
        self._pid = pid
        self._began = began
        self._child = child

    @classmethod
    def start(
        cls, spec: Spec, *, address: str, listening: dict[str, str] | None, box: Sequence[str], folder: Path
    ) -> Driver:
        """Start one for the container whose HTTP API is at `address`; `folder`: the instance's. Raises EngineError."""
        told = {"worker": spec.told("/src"), "address": address, "listening": listening}
        try:
            with (folder / NAME).open("ab") as log:
                child = subprocess.Popen(
                    [sys.executable, "-m", "modelyard_runner", "drive"],
                    cwd=folder,
                    env={"LANG": "C.UTF-8", "PYTHONPATH": os.pathsep.join(box), "PYTHONUNBUFFERED": "1"},
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            assert child.stdin is not None  # noqa: S101 - told to the type checker
            with child.stdin:
                child.stdin.write(json.dumps(told).encode() + b"\n")
        except OSError as error:
            raise EngineError(f"the program that drives its HTTP API could not be started: {error}") from error
        began = started_at(child.pid) or 0.0
        (folder / FILE).write_text(json.dumps({"pid": child.pid, "started_at": began}))
        return cls(folder, child.pid, began, child)

    @classmethod
    def find(cls, folder: Path) -> Driver | None:
        """The one that an earlier life of this yard started, if it lives."""
        try:
            facts = json.loads((folder / FILE).read_text())
            pid, began = int(facts["pid"]), float(facts["started_at"])
        except (OSError, ValueError, KeyError):
            return None
        return cls(folder, pid, began) if started_at(pid) == began else None

    async def ended(self) -> str:
        """Wait for its end; why it ended, in words."""
        while started_at(self._pid) == self._began:
            await asyncio.sleep(LOOK_SECONDS)
        return reason(self._folder / END_FILE, "unknown" if self._child is None else str(self._child.poll()))

    async def kill(self) -> None:
        """End it at once."""
        if started_at(self._pid) == self._began:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        if self._child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(1)


def reason(file: Path, code: str) -> str:
    """Why one ended: what it left in its file, else with which code."""
    return said(file) or f"the program that drives its HTTP API ended with code {code}"


def said(file: Path) -> str | None:
    """What one left in its file: it does so before it asks its container to end."""
    try:
        return file.read_text()
    except OSError:
        return None
