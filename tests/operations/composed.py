"""A yard for a team as `deploy/compose` makes it, with images of the tests in place of those that a registry has."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import docker_images
import httpx
import yard_images

from tests.faults.yard import TERMINAL, TOKEN, free_port

DEPLOY = Path(__file__).parents[2] / "deploy" / "compose"
SOCKET = Path("/var/run/docker.sock")
# Each start waits until it is found healthy, and the first look is one interval after it.
LOOKED_AT_OFTEN = """\
services:
  yard:
    healthcheck:
      interval: 1s
  postgres:
    healthcheck:
      interval: 1s
"""
# For whoever keeps its files in a bucket: the files of compose, one after the other.
IN_BUCKET = "compose.s3.yaml:often.s3.yaml"
_BUCKET_LOOKED_AT_OFTEN = """\
services:
  s3:
    healthcheck:
      interval: 1s
"""


class Composed:
    """One project of compose, in a folder of its own."""

    def __init__(self, folder: Path, files: tuple[str, ...], url: str = "http://127.0.0.1", **variables: str) -> None:
        self.folder = folder
        shutil.copytree(DEPLOY, folder, dirs_exist_ok=True)
        (folder / "often.yaml").write_text(LOOKED_AT_OFTEN)
        (folder / "often.s3.yaml").write_text(_BUCKET_LOOKED_AT_OFTEN)
        self.port = free_port()
        self.url = f"{url}:{self.port}"
        self.variables = {
            "COMPOSE_FILE": ":".join((*files, "often.yaml")),
            "COMPOSE_PROJECT_NAME": f"modelyard-test-{self.port}",
            "MODELYARD_IMAGE": yard_images.YARD,
            "POSTGRES_IMAGE": yard_images.POSTGRES,
            "MODELYARD_ADMIN_TOKEN": TOKEN,
            "POSTGRES_PASSWORD": "aPassword1",
            "S3_IMAGE": yard_images.S3,
            "S3_PASSWORD": "aPassword2",
            "MODELYARD_PUBLIC_URL": self.url,
            "YARD_PORT": str(self.port),
            "DOCKER_GID": str(SOCKET.stat().st_gid),
            **variables,
        }
        # What the Docker Engine knows it by; its network is called so.
        self.yards: set[str] = set()
        self.http = httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=70)

    def compose(self, *arguments: str) -> str:
        lines = [f"{name}={value}\n" for name, value in self.variables.items()]
        (self.folder / ".env").write_text("".join(lines))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELYARD_", "COMPOSE_"))}
        done = subprocess.run(
            ["docker-compose", *arguments],
            cwd=self.folder,
            env=kept,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"docker-compose {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def up(self) -> None:
        self.compose("up", "--detach")
        self.until_healthy()

    def container(self, service: str = "yard") -> str:
        return self.compose("ps", "--quiet", service).strip()

    def until_healthy(self) -> None:
        deadline, container = time.monotonic() + 90, self.container()
        while docker_images.docker("inspect", "--format", "{{.State.Health.Status}}", container) != "healthy":
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.2)

    def log(self) -> str:
        return self.compose("logs", "--no-color")[-8000:]

    def ask(self, version: str, /, wait: int = 60, **values: Any) -> dict[str, Any]:
        headers = {"prefer": f"wait={wait}"} if wait else {}
        asked = self.http.post("/v1/predictions", json={"version": version, "input": values}, headers=headers)
        assert asked.status_code in (200, 201, 202), asked.text
        return asked.json()  # type: ignore[no-any-return]

    def until(self, prediction: str, *statuses: str) -> dict[str, Any]:
        """Poll until it has one of these; survives a yard that is away for a moment."""
        deadline = time.monotonic() + 90
        found: dict[str, Any] = {}
        while found.get("status") not in statuses:
            assert time.monotonic() < deadline, f"{found}\n{self.log()}"
            time.sleep(0.1)
            try:
                found = self.http.get(f"/v1/predictions/{prediction}").json()
            except (httpx.HTTPError, ValueError):
                continue
        return found

    def finished(self, prediction: str) -> dict[str, Any]:
        return self.until(prediction, *TERMINAL)

    def of_models(self, *flags: str) -> set[str]:
        """The containers that the Docker Engine runs for this yard's models; with `--all` those that ended, too."""
        look = ["ps", "--quiet", "--no-trunc", "--filter", "label=org.modelyard.yard", *flags]
        listed = docker_images.docker(*look).split()
        volume = f"{self.variables['COMPOSE_PROJECT_NAME']}_data"
        # Those of other yards come and go meanwhile.
        shown = {each: _inspected(each) for each in listed}
        found = {each for each, about in shown.items() if f"/{volume}/" in about}
        self.yards |= {json.loads(shown[each])[0]["Config"]["Labels"]["org.modelyard.yard"] for each in found}
        return found

    def clear(self) -> None:
        """Leave nothing of it behind."""
        self.http.close()
        # Nobody needs it any more, so that nothing has to end well.
        self.compose("kill")
        for container in self.of_models("--all"):
            _take_away("rm", "--force", "--volumes", container)
        self.compose("down", "--volumes")
        for yard in self.yards:
            _take_away("network", "rm", f"modelyard-{yard}")


def _inspected(container: str) -> str:
    return subprocess.run(["docker", "inspect", container], capture_output=True, text=True, check=False).stdout


def _take_away(*command: str) -> None:
    """Docker's command, for what may be gone already: it ended, or another test clears away what nobody uses."""
    done = subprocess.run(["docker", *command], capture_output=True, text=True, timeout=60, check=False)
    said = done.stderr.lower()
    assert done.returncode == 0 or any(each in said for each in ("no such", "not found", "already in progress")), said
