"""docker, skopeo and buildah as a person at a terminal has them, each with a folder of its own to remember in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

SCHEMA = {
    "openapi": "3.0.2",
    "info": {"title": "Cog", "version": "0.1.0"},
    "paths": {},
    "components": {
        "schemas": {
            "Input": {"title": "Input", "type": "object", "properties": {"text": {"title": "Text", "type": "string"}}},
            "Output": {"title": "Output", "type": "string"},
        }
    },
}
CONFIG = {"build": {"python_version": "3.11"}, "predict": "run.py:Runner"}


def cog_labels(prefix: str = "run.cog.") -> dict[str, str]:
    """The labels that Cog gives to an image, present or (`org.cogmodel.`) older."""
    version = "version" if prefix == "run.cog." else "cog_version"
    return {
        prefix + version: "0.23.1",
        prefix + "config": json.dumps(CONFIG),
        prefix + "openapi_schema": json.dumps(SCHEMA),
    }


@cache
def why_no(program: str) -> str:
    """Why this program cannot be used here; "" when it can."""
    if shutil.which(program) is None:
        return f"there is no {program} here (Debian: apt-get install {'docker.io' if program == 'docker' else program})"
    if program == "docker" and subprocess.run(["docker", "version"], capture_output=True, timeout=30).returncode:
        return "no Docker Engine answers (start one: dockerd)"
    if program == "buildah" and os.geteuid() != 0:
        return "buildah is used as root here (sudo make test)"
    return ""


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skipped, with the reason, where one of these is not to be had."""
    reasons = [why_no(program) for program in programs]
    return pytest.mark.skipif(any(reasons), reason="; ".join(filter(None, reasons)))


@dataclass(frozen=True)
class Tools:
    """`host`: what the yard is called in an image's name."""

    folder: Path
    host: str
    token: str

    def run(self, *command: str, status: int = 0, stdin: str = "", timeout: float = 240) -> str:
        """What a command said, on both of its outputs."""
        remembered = self.folder / ".docker"
        if not remembered.exists():
            remembered.mkdir()
            # buildah wants the file that it is told of to be there.
            (remembered / "config.json").write_text("{}")
        environ = {**os.environ, "HOME": str(self.folder), "DOCKER_CONFIG": str(remembered)}
        done = subprocess.run(
            command, input=stdin, env=environ, cwd=self.folder, capture_output=True, text=True, timeout=timeout
        )
        said = done.stdout + done.stderr
        assert (done.returncode == 0) == (status == 0), f"{' '.join(command)}\n{said}"
        return said

    def login(self) -> None:
        self.run("docker", "login", "--username", "me", "--password-stdin", self.host, stdin=self.token)

    def build(self, name: str, text: str, labels: Mapping[str, str]) -> str:
        """A small image of one layer, in the engine; gives its whole name."""
        folder = self.folder / f"context-{name.replace('/', '-')}-{text}"
        folder.mkdir()
        (folder / "run.py").write_text(f"# {text}\n")
        (folder / "Dockerfile").write_text("FROM scratch\nCOPY run.py /src/run.py\n")
        tag = f"{self.host}/{name}"
        given = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
        self.run("docker", "build", "--quiet", "--tag", tag, *given, str(folder))
        return tag

    def forget(self, *images: str) -> None:
        """The engine has these images no more."""
        self.run("docker", "rmi", "--force", *images)
