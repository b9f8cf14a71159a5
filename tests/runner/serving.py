"""A real server of one model, `python -m modelyard_runner` in a process of its own, and a plain HTTP client for it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import BOX, MODELS


class Answer:
    """What came back."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """A server under test."""

    def __init__(
        self,
        ref: str,
        *arguments: str,
        root: Path = MODELS,
        train: bool = False,
        module: str = "modelyard_runner",
        **environment: str,
    ) -> None:
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the server
        with socket.socket() as finder:
            finder.bind(("127.0.0.1", 0))
            self.port = finder.getsockname()[1]
        env = {
            "PATH": os.environ["PATH"], "PYTHONPATH": BOX, "PYTHONDONTWRITEBYTECODE": "1",
            "MODELYARD_PYTHON": sys.executable, "PORT": str(self.port),
            "COG_TRAIN_TYPE_STUB" if train else "COG_PREDICT_TYPE_STUB": ref,
        } | environment  # fmt: skip
        mode = ("--x-mode", "train") if train else ()
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, "--host", "127.0.0.1", *mode, *arguments],
            cwd=root, env=env, stdout=self.log, stderr=self.log, start_new_session=True,
        )  # fmt: skip

    def text(self) -> str:
        """What the server wrote."""
        self.log.seek(0)
        return self.log.read().decode()

    def connect(self) -> http.client.HTTPConnection:
        """A connection of one's own, waiting until the server listens."""
        until = time.monotonic() + 20
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                connection.connect()
            except ConnectionRefusedError:
                assert time.monotonic() < until, self.text()
                assert self.process.poll() is None, self.text()
                time.sleep(0.02)
            else:
                return connection

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """One request on a connection of its own; a body that is no bytes is sent as JSON."""
        connection = self.connect()
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def predict(self, value: Any = None, headers: dict[str, str] | None = None, **envelope: Any) -> Answer:
        """POST /predictions."""
        return self.ask("POST", "/predictions", {"input": value or {}, **envelope}, headers)

    def health(self) -> Any:
        """GET /health-check."""
        return self.ask("GET", "/health-check").json

    def until(self, *states: str) -> Any:
        """Waits for one of some states; gives the health that said so."""
        until = time.monotonic() + 30
        while True:
            health = self.health()
            if health["status"] in states:
                return health
            assert time.monotonic() < until, (health, self.text())
            time.sleep(0.02)

    def stop_politely(self) -> int:
        """Asks the server to end, as a host does; gives its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def stop(self) -> int:
        """Ends the server; gives its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(5)
            raise
        finally:
            self.log.close()


@contextlib.contextmanager
def server(ref: str, *arguments: str, ready: bool = True, **options: Any) -> Iterator[Server]:
    """A server that is ready, unless told otherwise."""
    one = Server(ref, *arguments, **options)
    try:
        if ready:
            one.until("READY")
        yield one
    finally:
        one.stop()


def events(body: bytes) -> list[tuple[str, Any]]:
    """The events of a stream."""
    found = []
    for block in body.decode().split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            assert lines[0].startswith("event: "), block
            found.append((lines[0][7:], json.loads(lines[1].removeprefix("data: "))))
    return found
