"""Servers as child processes of a measurement: started, waited for, weighed and ended with all their children."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import load
import psutil

READY_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that runs. `url` is its root; `started_at` is the monotonic time just before it was started."""

    name: str
    url: str
    process: subprocess.Popen[bytes]
    started_at: float
    log: Path

    def memory_mb(self) -> float:
        """Proportional set size of the server and everything below it, in MB."""
        root = psutil.Process(self.process.pid)
        return sum(_pss(process.pid) for process in [root, *root.children(recursive=True)]) / 1e6

    def workers(self) -> int:
        """How many processes of it hold a model."""
        return sum(
            "modelyard_runner" in _command(child) and "worker" in _command(child)
            for child in psutil.Process(self.process.pid).children(recursive=True)
        )


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _pss(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:  # it ended meanwhile
        return 0
    return 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    name: str,
    command: Callable[[int], list[str]],
    *,
    folder: Path,
    scratch: Path,
    environment: Mapping[str, str],
    ready: Callable[[Server], bool],
) -> Iterator[Server]:
    """Start a server on a free port, wait until `ready` says so, and end it with its children in the end."""
    port = free_port()
    scratch.mkdir(parents=True, exist_ok=True)
    log = scratch / f"{name.replace(' ', '-')}-{port}.log"
    started_at = time.monotonic()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command(port),
            cwd=folder,
            env={**_inherited(), **environment, "PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    server = Server(name=name, url=f"http://127.0.0.1:{port}", process=process, started_at=started_at, log=log)
    try:
        wait_until(lambda: _alive(server) and ready(server), f"{name} is ready (see {log})")
        yield server
    finally:
        end(process)


def _inherited() -> dict[str, str]:
    """The caller's environment without what would lead one Python to another's packages."""
    ours = ("PYTHON", "VIRTUAL_ENV", "MODELYARD_", "COG_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _alive(server: Server) -> bool:
    if server.process.poll() is not None:
        tail = server.log.read_text(errors="replace")[-1500:]
        raise load.MeasuringError(f"{server.name} ended with {server.process.returncode}: {tail}")
    return True


def wait_until(true: Callable[[], bool], what: str, *, seconds: float = READY_SECONDS) -> None:
    """Ask again and again, a few hundred times a second. Raises MeasuringError when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if true():
                return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise load.MeasuringError(f"waited {seconds:.0f} s in vain until {what}")
        time.sleep(0.003)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and whatever it started, gently first."""
    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.Error:
        family = []
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for member in family:
        try:
            member.kill()
        except psutil.Error:
            continue


def answers(server: Server, path: str, want: bytes) -> bool:
    """Whether a GET is answered with a body that holds `want`."""
    connection = load.Connection(server.url, timeout=5)
    try:
        status, body = connection.ask("GET", path)
    finally:
        connection.close()
    return status == 200 and want in body
