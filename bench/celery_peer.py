"""Celery on Redis as a peer for durable work: a Redis, a worker, and the caller in Celery's own environment."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import environments
import load
import processes

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Celery:
    """Redis and a worker, running."""

    python: Path
    redis_url: str

    def measure(self, in_flight: int, seconds: int) -> tuple[float, float]:
        """Tasks a second from handing in to result seen, and the median of that time in ms."""
        done = subprocess.run(
            [self.python, HERE / "celery_app.py", str(in_flight), str(seconds)],
            env={"BENCH_REDIS": self.redis_url, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        seen = json.loads(done.stdout)
        return seen["per_second"], seen["p50_ms"]


@contextmanager
def running(scratch: Path, *, flush: str, processes_of_worker: int = 2) -> Iterator[Celery]:
    """Redis with its append-only file, flushed `always` (safe from loss of power) or `everysec`, and a worker."""
    if shutil.which("redis-server") is None:
        raise load.MeasuringError(
            "redis-server is not here; hint: apt-get install --no-install-recommends redis-server"
        )
    environment = environments.CELERY.make()
    folder = scratch / f"redis-{flush}"
    folder.mkdir(parents=True)
    redis_command = ["redis-server", "--save", "", "--appendonly", "yes", "--appendfsync", flush]
    with processes.running(
        "redis",
        lambda port: [*redis_command, "--port", str(port), "--dir", str(folder)],
        folder=scratch,
        scratch=scratch,
        environment={},
        ready=lambda server: b"PONG" in _ping(server),
    ) as redis:
        url = redis.url.replace("http", "redis") + "/0"
        with processes.running(
            "celery",
            lambda _: [
                *(str(environment.python), "-m", "celery", "-A", "celery_app", "worker"),
                *("--loglevel", "info", "--concurrency", str(processes_of_worker), "--without-gossip"),
                *("--without-mingle", "--without-heartbeat"),
            ],
            folder=HERE,
            scratch=scratch,
            environment={"BENCH_REDIS": url},
            ready=lambda worker: " ready." in worker.log.read_text(errors="replace"),
        ):
            yield Celery(python=environment.python, redis_url=url)


def _ping(server: processes.Server) -> bytes:
    connection = load.Connection(server.url)
    connection.socket.sendall(b"PING\r\n")
    reply = connection.socket.recv(64)
    connection.close()
    return reply
