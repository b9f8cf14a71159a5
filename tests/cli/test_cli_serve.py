"""`yard serve`: Cog's HTTP API of a project, up before setup is done and gone with its worker."""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from yard_process import YARD, Run, environment


@contextmanager
def serving(folder: Path, home: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    process = subprocess.Popen(
        [YARD, "serve", "-p", "0"], cwd=folder, env=environment(home), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        address = next(found[0] for line in process.stderr if (found := re.search(r"http://\S+", line)))
        yield address, process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        process.stderr.close()


def ask(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.loads(reply.read())


def until_ready(url: str) -> None:
    while ask(f"{url}/health-check")["status"] == "STARTING":
        pass


def test_a_project_is_served(yard: Run, home: Path, tmp_path: Path) -> None:
    yard("init", "fresh")
    with serving(tmp_path / "fresh", home) as (url, process):
        until_ready(url)
        reply = ask(f"{url}/predictions", {"input": {"text": "you", "times": 2}})
        assert (reply["status"], reply["output"]) == ("succeeded", "hello you hello you")
        assert list(ask(f"{url}/openapi.json")["components"]["schemas"]["Input"]["properties"]) == ["text", "times"]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_a_file_is_taken_and_given_as_a_data_url(home: Path, tmp_path: Path) -> None:
    (tmp_path / "cog.yaml").write_text('run: "run.py:Runner"\n')
    (tmp_path / "run.py").write_text(
        "from cog import BaseRunner, Path\n"
        "class Runner(BaseRunner):\n"
        "    def run(self, text: Path) -> Path:\n"
        "        with open('upper.txt', 'w') as file:\n"
        "            file.write(text.read_text().upper())\n"
        "        return Path('upper.txt')\n"
    )
    with serving(tmp_path, home) as (url, _):
        until_ready(url)
        given = "data:text/plain;base64," + base64.b64encode(b"small").decode()
        output = ask(f"{url}/predictions", {"input": {"text": given}})["output"]
        assert base64.b64decode(output.partition("base64,")[2]) == b"SMALL"


def test_a_port_in_use_is_said(yard: Run, home: Path, tmp_path: Path) -> None:
    yard("init", "fresh")
    with serving(tmp_path / "fresh", home) as (url, _):
        done = yard("serve", "-p", url.rpartition(":")[2], cwd=tmp_path / "fresh")
    assert done.returncode == 1
    assert "cannot listen on 127.0.0.1:" in done.stderr
    assert "hint: choose another port" in done.stderr


def test_what_cog_yaml_says_of_times_counts(home: Path, tmp_path: Path) -> None:
    source = (
        "import time\n"
        "from cog import BaseRunner\n"
        "class Runner(BaseRunner):\n"
        "    def run(self, seconds: float = 0) -> str:\n"
        "        time.sleep(seconds)\n"
        "        return 'ran'\n"
    )
    (tmp_path / "cog.yaml").write_text('run: "run.py:Runner"\nenvironment:\n  - MODELYARD_RUN_TIMEOUT=1\n')
    (tmp_path / "run.py").write_text(source)
    with serving(tmp_path, home) as (url, _):
        until_ready(url)
        reply = ask(f"{url}/predictions", {"input": {"seconds": 30}})
        assert (reply["status"], reply["error"]) == ("failed", "Prediction timed out after 1 seconds.")
    (tmp_path / "cog.yaml").write_text('run: "run.py:Runner"\nenvironment:\n  - COG_SETUP_TIMEOUT=1\n')
    (tmp_path / "run.py").write_text(source + "    def setup(self) -> None:\n        time.sleep(30)\n")
    with serving(tmp_path, home) as (url, _):
        until_ready(url)
        assert ask(f"{url}/health-check")["setup"]["logs"].endswith("worker setup timed out")


def test_a_playground_is_said_not_to_open(yard: Run, tmp_path: Path) -> None:
    same = yard("serve", "--playground", "--playground-port", "8393")
    assert same.returncode == 2
    assert same.stderr == "error: playground port 8393 must differ from the model port 8393\n"
    done = yard("serve", "--playground")
    assert done.stderr.startswith("warning: --playground opens nothing yet; a yard has a page with a form")


def test_a_project_that_also_trains_is_served_with_its_trainings(home: Path, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("def run(text: str = 'x') -> str:\n    return text\n")
    (tmp_path / "train.py").write_text("def train(steps: int = 1) -> int:\n    return steps * 2\n")
    (tmp_path / "cog.yaml").write_text('run: "run.py:run"\ntrain: "train.py:train"\n')
    with serving(tmp_path, home) as (url, _):
        until_ready(url)
        assert ask(url)["trainings_url"] == "/trainings"
        assert {"Input", "TrainingInput"} <= set(ask(f"{url}/openapi.json")["components"]["schemas"])
        assert ask(f"{url}/trainings", {"input": {"steps": 4}})["output"] == 8
        assert ask(f"{url}/predictions", {"input": {"text": "y"}})["output"] == "y"
    (tmp_path / "cog.yaml").write_text('train: "train.py:train"\n')
    with serving(tmp_path, home) as (url, _):
        until_ready(url)
        assert "Input" not in ask(f"{url}/openapi.json")["components"]["schemas"]
        assert ask(f"{url}/trainings", {"input": {"steps": 5}})["output"] == 10
