"""The engine of one host: an instance is a child process, in a session of its own, that outlives the yard.

It trusts the authors of its models as far as a Unix user is trusted: an instance gets an environment made from an
allow-list, never the yard's own, and is stopped at its memory limit, but it may read what this user may read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from modelyard import handed_on
from modelyard.engines.alive import started_at
from modelyard.engines.base import EngineError, Handle, Limits, OnExit, Spec
from modelyard_runner import view

# A model that computes on every core must not keep callers, and the commits that they wait for, waiting.
_NICENESS = 5
WATCH_SECONDS = 0.1
_TREE_EVERY = 10  # children's memory is counted at every tenth look: walking the process table is dear
_MARK = "MODELYARD_INSTANCE"


@dataclass(slots=True)
class _Running:
    handle: Handle
    limits: Limits
    child: subprocess.Popen[bytes] | None
    reason: str | None = None
    tree: int = 0


class ProcessEngine:
    """Instances as child processes. `folder` holds one folder an instance; `box` are the paths of our code in a model's
    PYTHONPATH; `inherited` the yard's environment, of which only what describes the machine is passed on."""

    name = "process"
    contained = False

    def __init__(self, *, folder: Path, box: Sequence[str], inherited: Mapping[str, str], on_exit: OnExit) -> None:
        self._folder = folder
        self._box = tuple(box)
        self._inherited = handed_on.machine(inherited)
        self._on_exit = on_exit
        self._running: dict[str, _Running] = {}
        self._watcher: asyncio.Task[None] | None = None

    async def start(self, spec: Spec) -> Handle:
        """Start the worker of an instance. Raises EngineError."""
        command = [str(spec.python), "-m", "modelyard_runner", "worker"]
        spec.scratch.mkdir(parents=True, exist_ok=True)
        (spec.scratch / "tmp").mkdir(exist_ok=True)
        spec.cache.mkdir(parents=True, exist_ok=True)
        try:
            with (spec.scratch / "instance.log").open("ab") as log, spec.unread.lend() as pipes:
                child = subprocess.Popen(
                    command,
                    cwd=spec.source,
                    env=self._environment(spec, pipes),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=pipes,
                    start_new_session=True,
                )
        except OSError as error:
            raise EngineError(f"the worker could not be started with {spec.python}: {error}") from error
        handle = Handle(instance=spec.instance, pid=child.pid, started_at=started_at(child.pid) or 0.0)
        self._remember(handle, spec.limits)
        _prefer_for_the_oom_killer(child.pid)
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, child.pid, _NICENESS)
        self._watch(_Running(handle, spec.limits, child))
        return handle

    def _environment(self, spec: Spec, pipes: Sequence[int]) -> dict[str, str]:
        cache = str(spec.cache)
        return {
            "LANG": "C.UTF-8",
            **self._inherited,
            # What the model's packages bring along to be run is found before what this host has.
            "PATH": os.pathsep.join([str(spec.python.parent), self._inherited.get("PATH", os.defpath)]),
            "HF_HOME": f"{cache}/huggingface",
            "TORCH_HOME": f"{cache}/torch",
            "XDG_CACHE_HOME": cache,
            "TMPDIR": str(spec.scratch / "tmp"),
            "PYTHONUNBUFFERED": "1",
            "CUDA_VISIBLE_DEVICES": ",".join(spec.limits.gpus),
            **spec.environment,
            **spec.secrets,
            "PYTHONPATH": os.pathsep.join(self._box),
            _MARK: spec.instance,
            "MODELYARD_WORKER": json.dumps({**spec.told(str(spec.source)), "mounts": _mounts(spec), "pipes": pipes}),
        }

    def _remember(self, handle: Handle, limits: Limits) -> None:
        facts = {
            "pid": handle.pid,
            "started_at": handle.started_at,
            "memory_bytes": limits.memory_bytes,
            "cpus": limits.cpus,
            "gpus": list(limits.gpus),
        }
        (self._folder / handle.instance / "process.json").write_text(json.dumps(facts))

    async def list(self) -> list[Handle]:
        """Instances that live, those of an earlier yard on this folder included; what is left of dead ones is swept."""
        if self._folder.exists():
            for file in self._folder.glob("*/process.json"):
                if file.parent.name not in self._running:
                    self._find(file)
        return [running.handle for running in self._running.values()]

    def _find(self, file: Path) -> None:
        try:
            facts = json.loads(file.read_text())
            handle = Handle(instance=file.parent.name, pid=int(facts["pid"]), started_at=float(facts["started_at"]))
            limits = Limits(memory_bytes=facts["memory_bytes"], cpus=facts["cpus"], gpus=tuple(facts["gpus"]))
        except (OSError, ValueError, KeyError):
            return
        if started_at(handle.pid) == handle.started_at:
            self._watch(_Running(handle, limits, None))
        else:
            _kill_marked(handle.instance, handle.pid)
            file.unlink(missing_ok=True)

    async def stop(self, instance: str, grace: float) -> None:
        """SIGTERM, then after `grace` seconds SIGKILL to it and to everything that it started."""
        running = self._running.get(instance)
        if running is None:
            return
        if grace > 0:
            _signal(running.handle, signal.SIGTERM)
            deadline = asyncio.get_running_loop().time() + grace
            while instance in self._running and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(0.02)
        _signal_group(running.handle, signal.SIGKILL)
        while instance in self._running:
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Stop watching; the instances live on and will be found again."""
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    def _watch(self, running: _Running) -> None:
        self._running[running.handle.instance] = running
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.get_running_loop().create_task(self._watch_all())

    async def _watch_all(self) -> None:
        look = 0
        while self._running:
            look += 1
            for running in list(self._running.values()):
                reason = _ended(running)
                if reason is not None:
                    self._gone(running, running.reason or reason)
                else:
                    self._hold_to_limit(running, tree=look % _TREE_EVERY == 0)
            await asyncio.sleep(WATCH_SECONDS)

    def _hold_to_limit(self, running: _Running, *, tree: bool) -> None:
        limit = running.limits.memory_bytes
        try:
            process = psutil.Process(running.handle.pid)
            used = process.memory_info().rss
            if tree:
                running.tree = sum(_memory_of(child) for child in process.children(recursive=True))
        except psutil.Error:
            return
        if limit and used + running.tree > limit:
            running.reason = (
                f"out of memory: it used {_gib(used + running.tree)} of the {_gib(limit)} that its hardware has (E1001)"
            )
            _signal_group(running.handle, signal.SIGKILL)

    def _gone(self, running: _Running, reason: str) -> None:
        handle = running.handle
        self._running.pop(handle.instance, None)
        _signal_group(handle, signal.SIGKILL)
        _kill_marked(handle.instance, handle.pid)
        (self._folder / handle.instance / "process.json").unlink(missing_ok=True)
        self._on_exit(handle.instance, reason)


def _mounts(spec: Spec) -> Sequence[Mapping[str, Any]]:
    mounts = view.arrange(spec.source, [(str(folder), target) for folder, target in spec.folders])
    for mount in mounts:
        place = Path(mount["target"])
        if place.is_relative_to(spec.source):
            # In the working copy there is to be a folder: without one its whole parent would be shown from memory.
            place.mkdir(parents=True, exist_ok=True)
    return mounts


def _memory_of(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _ended(running: _Running) -> str | None:
    if running.child is None:
        return None if started_at(running.handle.pid) == running.handle.started_at else "ended while nobody watched"
    code = running.child.poll()
    if code is None:
        return None
    if code < 0:
        return f"killed by signal {-code} ({_signal_name(-code)})"
    return f"exited with code {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _signal(handle: Handle, number: int) -> None:
    if started_at(handle.pid) == handle.started_at:
        os.kill(handle.pid, number)


def _signal_group(handle: Handle, number: int) -> None:
    # The session outlives its leader: what the worker left behind is in its group, whether it lives or not.
    try:
        os.killpg(handle.pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _kill_marked(instance: str, session: int) -> None:
    """End what fled the session (a daemon's double fork): it still carries the instance's mark in its environment."""
    if not sys.platform.startswith("linux"):
        return
    mark = f"{_MARK}={instance}".encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != session:
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    os.kill(int(folder.name), signal.SIGKILL)
            except OSError:
                continue


def _prefer_for_the_oom_killer(pid: int) -> None:
    try:
        Path(f"/proc/{pid}/oom_score_adj").write_text("800")
    except OSError:
        return
