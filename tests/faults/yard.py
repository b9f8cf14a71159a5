"""A real yard for tests: `yard up` as a process of its own, that may be killed, stopped and started again."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

TOKEN = "r8_" + "t" * 37
TERMINAL = {"succeeded", "failed", "canceled", "aborted"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Yard:
    """One yard on one data folder and one port, over as many lives as a test wants."""

    def __init__(self, folder: Path, *, database: str | None = None, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = {
            **os.environ,
            "HOME": str(folder),
            "MODELYARD_ADMIN_TOKEN": TOKEN,
            "MODELYARD_TOKEN": TOKEN,
            "MODELYARD_URL": self.url,
            "MODELYARD_BASE_IMAGE": "none",
            "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv"),
            **(settings or {}),
        }
        self._arguments = ["up", "--port", str(self.port), "--data", str(self.data)]
        if database is not None:
            self._arguments += ["--database", database]
        self.http = httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=70)

    # -- lives

    def start(self, timeout: float = 60) -> Yard:
        """Start it and wait until it says that it is ready."""
        self.launch()
        self.wait_ready(timeout)
        return self

    def launch(self) -> subprocess.Popen[bytes]:
        with (self.folder / "yard.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "modelyard", *self._arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self.process

    def wait_ready(self, timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, f"the yard ended:\n{self.log()}"
            try:
                if httpx.get(f"{self.url}/healthz", timeout=2).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"the yard did not become ready:\n{self.log()}")

    def kill(self) -> None:
        """`kill -9`."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, *, hard: bool = False) -> int:
        """SIGTERM, and a second one when `hard`; gives the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            if hard:
                time.sleep(0.2)
                self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def end(self) -> None:
        """Leave nothing behind: the yard and every worker of it."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.http.close()
        for pid in self.workers():
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def log(self) -> str:
        return (self.folder / "yard.log").read_text(errors="replace")[-6000:]

    def workers(self) -> list[int]:
        """The pids of this yard's workers that live."""
        found = []
        mark = str(self.data / "instances").encode()
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                try:
                    environ = (process / "environ").read_bytes()
                    command = (process / "cmdline").read_bytes()
                except OSError:
                    continue
                if mark in environ and b"modelyard_runner" in command:
                    found.append(int(process.name))
        return found

    # -- what a user does

    def command(self, *arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        """A `yard` command as this yard's owner, with `variables` added to its environment."""
        return subprocess.run(
            [sys.executable, "-m", "modelyard", *arguments],
            cwd=cwd or self.folder,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def launched(self, *arguments: str) -> subprocess.Popen[str]:
        """A `yard` command as this yard's owner, while it runs."""
        return subprocess.Popen(
            [sys.executable, "-m", "modelyard", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def check_store(self) -> None:
        """Every version has its image, and every byte in it is right."""
        done = self.command("doctor", "--store", "--deep")
        assert (done.returncode, "no issues found" in done.stderr) == (0, True), done.stderr

    def push(self, name: str, source: str, *, yaml: str = "") -> str:
        """Make a project with `run.py` of this source, push it as `yard/NAME`; gives the version's id."""
        project = self.folder / "projects" / name
        project.mkdir(parents=True, exist_ok=True)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        (project / "cog.yaml").write_text(f'build:\n  python_version: "{version}"\nrun: "run.py:Runner"\n{yaml}')
        (project / "run.py").write_text(source)
        pushed = self.command("push", f"yard/{name}", cwd=project)
        assert pushed.returncode == 0, pushed.stderr
        model = self.http.get(f"/v1/models/yard/{name}").json()
        return str(model["latest_version"]["id"])

    def create(self, version: str, values: Mapping[str, Any], **headers: str) -> dict[str, Any]:
        """Create a prediction; gives the reply's body."""
        reply = self.http.post("/v1/predictions", json={"version": version, "input": values}, headers=headers)
        assert reply.status_code == 201, reply.text
        return dict(reply.json())

    def get(self, prediction_id: str) -> dict[str, Any]:
        reply = self.http.get(f"/v1/predictions/{prediction_id}")
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def until(
        self, prediction_id: str, condition: Callable[[dict[str, Any]], bool], timeout: float = 60
    ) -> dict[str, Any]:
        """Poll until the condition holds; survives a yard that is away for a moment."""
        deadline = time.monotonic() + timeout
        shown: dict[str, Any] = {}
        while time.monotonic() < deadline:
            try:
                shown = self.get(prediction_id)
            except httpx.HTTPError:
                time.sleep(0.05)
                continue
            if condition(shown):
                return shown
            time.sleep(0.05)
        raise AssertionError(f"not within {timeout} s: {shown}\n{self.log()}")

    def finished(self, prediction_id: str, timeout: float = 60) -> dict[str, Any]:
        return self.until(prediction_id, lambda shown: shown["status"] in TERMINAL, timeout)

    # -- what is on the disk

    def rows(self) -> dict[str, dict[str, Any]]:
        """Every prediction's row by its id, read past the yard, which need not run. SQLite only."""
        with closing(sqlite3.connect(f"{(self.data / 'yard.db').as_uri()}?mode=ro", uri=True, timeout=10)) as database:
            database.row_factory = sqlite3.Row
            return {row["id"]: dict(row) for row in database.execute("SELECT * FROM predictions ORDER BY id")}

    def row_until(
        self, prediction_id: str, condition: Callable[[dict[str, Any]], bool], timeout: float = 60
    ) -> dict[str, Any]:
        """Poll one prediction's row until the condition holds."""
        deadline = time.monotonic() + timeout
        while not condition(row := self.rows()[prediction_id]):
            assert time.monotonic() < deadline, f"not within {timeout} s: {row}\n{self.log()}"
            time.sleep(0.05)
        return row
