"""`yard down`: who is stopped, what is waited for, and who is not there to be stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yard_process
from yard_process import TOKEN, YARD, environment

SLEEPS = """
import time
from cog import BaseRunner

class Runner(BaseRunner):
    def run(self, seconds: float = 0.0) -> str:
        print("asleep", flush=True)
        time.sleep(seconds)
        return "awake"
"""


class Lives:
    """A yard that is started and stopped, and what somebody at a shell says to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def up(self, *, port: str = "0") -> None:
        self.process = subprocess.Popen(
            [YARD, "up", "--port", port, "--data", str(self.data)],
            cwd=self.folder,
            env={**environment(self.folder), "MODELYARD_ADMIN_TOKEN": TOKEN},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stderr is not None
        said = ""
        while not (found := re.search(r"http://\S+", said)):
            line = self.process.stderr.readline()
            assert line, said
            said += line
        self.url = found[0]

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        logged_in = {"MODELYARD_URL": self.url, "MODELYARD_TOKEN": TOKEN}
        return yard_process.run(*arguments, home=self.folder, cwd=self.folder, **{**logged_in, **variables})

    def predict(self, **values: Any) -> str:
        headers = {"authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=self.url, headers=headers, timeout=30) as http:
            made = http.post("/v1/models/yard/sleeps/predictions", json={"input": values}).json()
            deadline = time.monotonic() + 30
            while http.get(f"/v1/predictions/{made['id']}").json()["status"] != "processing":
                assert time.monotonic() < deadline
                time.sleep(0.05)
        return str(made["id"])

    def ended(self) -> int:
        assert self.process is not None
        return self.process.wait(20)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    found = Lives(tmp_path)
    found.up()
    yield found
    found.end()


def push(lives: Lives) -> None:
    project = lives.folder / "sleeps"
    project.mkdir()
    (project / "cog.yaml").write_text('run: "run.py:Runner"\n')
    (project / "run.py").write_text(SLEEPS)
    variables = {"MODELYARD_URL": lives.url, "MODELYARD_TOKEN": TOKEN}
    done = yard_process.run("push", "yard/sleeps", home=lives.folder, cwd=project, **variables)
    assert done.returncode == 0, done.stderr


def test_the_yard_of_a_folder_is_stopped_and_then_is_not_there(lives: Lives) -> None:
    done = lives.run("down", "--data", str(lives.data), MODELYARD_TOKEN="")
    assert (done.returncode, done.stdout) == (0, f"The yard on {lives.data} has stopped.\n")
    assert lives.ended() == 0
    again = lives.run("down", "--data", str(lives.data))
    assert again.returncode == 1
    assert f"error: no yard of this machine runs on the data folder {lives.data}" in again.stderr
    lives.up()
    assert json.loads(lives.run("down", "--data", str(lives.data), "--json").stdout)["url"] == lives.url


def test_the_yard_that_one_is_logged_in_to_is_found_wherever_its_folder_is(lives: Lives) -> None:
    assert lives.run("down").stdout == f"The yard on {lives.data} has stopped.\n"
    assert lives.ended() == 0


def test_what_runs_is_waited_for_and_named(lives: Lives) -> None:
    push(lives)
    running = lives.predict(seconds=4)
    done = lives.run("down")
    assert done.returncode == 0
    assert done.stderr.startswith(f"Waiting for 1 prediction: {running} (yard down --now stops at once)\n")
    lives.up()
    assert json.loads(lives.run("predictions", "show", running, "--json").stdout)["status"] == "succeeded"


def test_now_leaves_what_runs_to_be_taken_up_by_the_next_yard(lives: Lives) -> None:
    push(lives)
    running = lives.predict(seconds=6)
    began = time.monotonic()
    assert lives.run("down", "--now").returncode == 0
    assert time.monotonic() - began < 5, "it did not wait for the end"
    lives.up()
    followed = lives.run("logs", "-f", running)
    assert (followed.returncode, followed.stdout) == (0, "asleep\n")


def test_who_follows_and_who_watches_goes_on_when_the_yard_is_back(lives: Lives) -> None:
    push(lives)
    running = lives.predict(seconds=6)
    port = lives.url.rpartition(":")[2]
    variables = {"MODELYARD_URL": lives.url, "MODELYARD_TOKEN": TOKEN}
    follower = subprocess.Popen(
        [YARD, "logs", "-f", running],
        env={**environment(lives.folder), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert follower.stdout is not None
    assert follower.stdout.readline() == "asleep\n"
    lives.run("down", "--now")
    time.sleep(1.0)
    lives.up(port=port)
    out, said = follower.communicate(timeout=30)
    assert (follower.returncode, out) == (0, "")
    assert "trying again" in said


def test_a_lock_that_nobody_holds_stops_nothing(lives: Lives) -> None:
    assert lives.process is not None
    lives.process.kill()
    lives.ended()
    facts = json.loads((lives.data / "yard.lock").read_text())
    assert facts == {"pid": lives.process.pid, "url": lives.url}
    (lives.data / "yard.lock").write_text(json.dumps({**facts, "pid": os.getpid()}))
    done = lives.run("down", "--data", str(lives.data))
    assert (done.returncode, done.stdout) == (1, "")
