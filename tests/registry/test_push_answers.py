"""`yard push` to a registry that answers otherwise at one of its steps: what it says, and what it leaves behind."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from registry_yard import Yard
from weights_servers import serving

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
STEPS: dict[str, tuple[str, str]] = {
    "asking for a layer": ("HEAD", "/blobs/sha256:"),
    "sending a layer": ("POST", "/blobs/uploads/"),
    "sending a piece": ("PATCH", "/blobs/uploads/"),
    "naming it": ("PUT", "/manifests/"),
}
WORDS = {
    401: "yard login",
    403: "does not let you",
    404: "it is not there",
    429: "asked too often",
    503: "status 503",
}

TOO_MANY = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"slowly"}]}'


@dataclass
class Front:
    """Stands before a real registry and answers `times` requests of one step itself."""

    yard: Yard
    step: tuple[str, str]
    answer: Callable[[Any], None]
    times: int = 1_000_000
    answered: list[str] = field(default_factory=list)

    def __call__(self, handler: Any) -> None:
        method, part = self.step
        if handler.command == method and part in handler.path and len(self.answered) < self.times:
            handler.body()
            self.answered.append(handler.path)
            self.answer(handler)
            return
        self._pass_on(handler)

    def _pass_on(self, handler: Any) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.yard.port, timeout=30)
        kept = {key: value for key, value in handler.headers.items() if key.lower() not in ("host", "connection")}
        connection.request(handler.command, handler.path, handler.body(), kept)
        reply = connection.getresponse()
        data = reply.read()
        passed = ("location", "range", "www-authenticate", "content-type")
        headers = {key: value for key, value in reply.getheaders() if key.lower() in passed}
        handler.answer(reply.status, data, **{key.replace("-", "_"): value for key, value in headers.items()})
        connection.close()


def says(status: int, body: bytes = b"<html>no</html>", **headers: str) -> Callable[[Any], None]:
    return lambda handler: handler.answer(status, body, **headers)


def refuses(status: int) -> Callable[[Any], None]:
    """As a registry does, with words of its own; of 500 and more, as something before one does."""
    said = f'{{"errors":[{{"code":"DENIED","message":"the registry said {status}"}}]}}'
    return says(status, said.encode()) if status < 500 else says(status)


def hangs_up(handler: Any) -> None:
    handler.close_connection = True
    handler.connection.close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "cog.yaml").write_text(f'build:\n  python_version: "{OWN}"\nrun: "run.py:run"\n')
    (folder / "run.py").write_text("def run(text: str) -> str:\n    return text\n")
    with (folder / "weights.bin").open("wb") as file:
        file.truncate(40 * 1024 * 1024)  # more than goes in one request
    return folder


def push(url: str, project: Path) -> subprocess.CompletedProcess[str]:
    given = {"MODELYARD_URL": url, "MODELYARD_TOKEN": "owner-token", "MODELYARD_BASE_IMAGE": "none"}
    return subprocess.run(
        [sys.executable, "-m", "modelyard", "push", "owner/m"],
        cwd=project,
        env={"PATH": os.environ["PATH"], "HOME": str(project.parent), **given},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextlib.contextmanager
def before(yard: Yard, step: str, answer: Callable[[Any], None], times: int = 1_000_000) -> Iterator[tuple[Front, str]]:
    front = Front(yard, STEPS[step], answer, times)
    with serving(front) as url:
        yield front, url


# Asked for a layer, 404 is how a registry says that it has none.
@pytest.mark.parametrize(
    ("status", "step"),
    [(status, step) for status in WORDS for step in STEPS if (status, STEPS[step][0]) != (404, "HEAD")],
)
def test_a_push_that_is_refused_says_why_leaves_nothing_to_see_and_can_be_done_again(
    yard: Yard, project: Path, status: int, step: str
) -> None:
    with before(yard, step, refuses(status)) as (front, url):
        done = push(url, project)
    assert front.answered
    assert done.returncode == 1
    assert "error: " in done.stderr
    # An answer to HEAD has no words.
    told = status >= 500 or step == "asking for a layer"
    assert (WORDS[status] if told else f"the registry said {status}") in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert yard.arrivals == []
    assert push(yard.url, project).returncode == 0
    assert len(yard.arrivals) == 1


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "answer",
    [says(429, TOO_MANY, Retry_After="1"), says(503), hangs_up],
    ids=["429 for a second", "503 once", "hangs up"],
)
def test_what_passes_in_a_moment_costs_a_push_no_more_than_that(
    yard: Yard, project: Path, answer: Callable[[Any], None], step: str
) -> None:
    with before(yard, step, answer, times=1) as (front, url):
        done = push(url, project)
    assert front.answered
    assert done.returncode == 0, done.stderr
    assert len(yard.arrivals) == 1


def test_the_words_of_a_registry_reach_who_pushes(yard: Yard, project: Path) -> None:
    body = b'{"errors":[{"code":"DENIED","message":"the quota of owner is used up","detail":{"hint":"delete some"}}]}'
    with before(yard, "sending a layer", says(403, body)) as (_, url):
        done = push(url, project)
    assert done.returncode == 1
    assert "the quota of owner is used up" in done.stderr
    assert "delete some" in done.stderr
