"""`yard serve`: Cog's HTTP API of a project, up before setup is done and gone with its worker."""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from yard_process import YARD, Run, environment


@contextmanager
def serving(folder: Path, home: Path, *flags: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    process = subprocess.Popen(
        [YARD, "serve", "-p", "0", *flags], cwd=folder, env=environment(home), stderr=subprocess.PIPE, text=True
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


def answer(url: str, body: Any) -> Any:
    """The answer to a prediction, None where there is no room for it."""
    try:
        return ask(f"{url}/predictions", body)
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise
        return None


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


def test_variables_of_the_model_steer_its_server(home: Path, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(
        "import asyncio\n"
        "from cog import BaseRunner\n"
        "class Runner(BaseRunner):\n"
        "    def setup(self, weights: str = None) -> None:\n"
        "        self.weights, self.running = weights, 0\n"
        "    async def run(self) -> str:\n"
        "        self.running += 1\n"
        "        while self.running < 3:\n"
        "            await asyncio.sleep(0.01)\n"
        "        return self.weights\n"
    )
    (tmp_path / "cog.yaml").write_text('run: "run.py:Runner"\nenvironment:\n  - COG_MAX_CONCURRENCY=3\n')
    with serving(tmp_path, home, "-e", "COG_WEIGHTS=w.bin") as (url, _), ThreadPoolExecutor(3) as pool:
        until_ready(url)
        # None of the three could end before all of them run.
        replies = pool.map(lambda _: ask(f"{url}/predictions", {"input": {}}), range(3))
        assert [reply["output"] for reply in replies] == ["w.bin"] * 3


SAYS = """
import os
from cog import BaseRunner
class Runner(BaseRunner):
    def run(self, {name}: str = "x") -> str:
        if {name} == "die":
            os._exit(9)
        return "{word}"
"""


def wait_for(process: subprocess.Popen[str], words: str) -> list[str]:
    """The lines up to one with these words."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if words in line:
            return lines
    raise AssertionError(f"{words!r} was not said: {lines}")


def test_a_change_of_the_source_is_served_at_the_next_request(home: Path, tmp_path: Path) -> None:
    (tmp_path / "cog.yaml").write_text('run: "run.py:Runner"\n')
    (tmp_path / "run.py").write_text(SAYS.format(name="text", word="before"))
    with serving(tmp_path, home, "--reload") as (url, process):
        until_ready(url)
        assert ask(f"{url}/predictions", {"input": {}})["output"] == "before"
        (tmp_path / "output.txt").write_text("what a model writes is no source")
        (tmp_path / "run.py").write_text(SAYS.format(name="prompt", word="after"))
        said = wait_for(process, "Serving at")
        assert said[-2] == "run.py changed; loading the model again.\n"
        until_ready(url)
        assert ask(f"{url}/predictions", {"input": {"prompt": "y"}})["output"] == "after"
        assert list(ask(f"{url}/openapi.json")["components"]["schemas"]["Input"]["properties"]) == ["prompt"]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_a_change_with_a_mistake_is_told_and_what_was_loaded_goes_on(home: Path, tmp_path: Path) -> None:
    (tmp_path / "cog.yaml").write_text('run: "run.py:Runner"\n')
    (tmp_path / "run.py").write_text(SAYS.format(name="text", word="before"))
    with serving(tmp_path, home, "--reload") as (url, process):
        until_ready(url)
        (tmp_path / "run.py").write_text("class Runner(:\n")
        said = "".join(wait_for(process, "what was loaded before goes on"))
        assert "error: " in said
        assert "run.py" in said
        assert ask(f"{url}/predictions", {"input": {}})["output"] == "before"
        (tmp_path / "run.py").write_text(SAYS.format(name="text", word="mended"))
        wait_for(process, "Serving at")
        until_ready(url)
        assert ask(f"{url}/predictions", {"input": {}})["output"] == "mended"


def test_a_setup_that_failed_is_mended_by_a_change(home: Path, tmp_path: Path) -> None:
    (tmp_path / "cog.yaml").write_text('run: "run.py:Runner"\n')
    (tmp_path / "run.py").write_text("import no_such_thing\n" + SAYS.format(name="text", word="never"))
    with serving(tmp_path, home, "--reload") as (url, process):
        until_ready(url)
        assert ask(f"{url}/health-check")["status"] == "SETUP_FAILED"
        (tmp_path / "run.py").write_text(SAYS.format(name="text", word="mended"))
        wait_for(process, "Serving at")
        until_ready(url)
        assert ask(f"{url}/predictions", {"input": {}})["output"] == "mended"


def test_what_runs_at_a_change_ends_before_it_counts(home: Path, tmp_path: Path) -> None:
    (tmp_path / "cog.yaml").write_text('run: "run.py:Runner"\n')
    slow = SAYS.format(name="text", word="before").replace("        return", "        time.sleep(3)\n        return")
    (tmp_path / "run.py").write_text("import time\n" + slow)
    with serving(tmp_path, home, "--reload") as (url, process), ThreadPoolExecutor() as beside:
        until_ready(url)
        running = beside.submit(ask, f"{url}/predictions", {"input": {}})
        while ask(f"{url}/health-check")["status"] != "BUSY":
            pass
        (tmp_path / "run.py").write_text(SAYS.format(name="text", word="after"))
        wait_for(process, "Serving at")
        assert ask(f"{url}/health-check")["status"] in ("STARTING", "READY")
        assert running.result()["output"] == "before"
        until_ready(url)
        assert ask(f"{url}/predictions", {"input": {}})["output"] == "after"


def test_a_worker_that_dies_is_replaced_unless_it_is_not_to_be(home: Path, tmp_path: Path) -> None:
    (tmp_path / "cog.yaml").write_text('run: "run.py:Runner"\n')
    (tmp_path / "run.py").write_text(SAYS.format(name="text", word="alive"))
    with serving(tmp_path, home) as (url, _):
        until_ready(url)
        assert ask(f"{url}/predictions", {"input": {"text": "die"}})["status"] == "failed"
        while ask(f"{url}/health-check")["status"] != "READY":
            pass
        assert ask(f"{url}/predictions", {"input": {}})["output"] == "alive"
    with serving(tmp_path, home, "--no-restart") as (url, _):
        until_ready(url)
        assert ask(f"{url}/predictions", {"input": {"text": "die"}})["status"] == "failed"
        assert ask(f"{url}/health-check")["status"] == "DEFUNCT"
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(f"{url}/predictions", {"input": {}})
        assert json.loads(refused.value.read())["error"].startswith("There is no worker any more. Worker crashed: ")


def test_each_of_several_workers_runs_one_at_a_time_and_all_of_them_at_once(home: Path, tmp_path: Path) -> None:
    (tmp_path / "cog.yaml").write_text('run: "run.py:Runner"\n')
    (tmp_path / "run.py").write_text(
        "import os, pathlib, time\n"
        "from cog import BaseRunner\n"
        "class Runner(BaseRunner):\n"
        "    def run(self, here: str, other: str) -> int:\n"
        "        pathlib.Path(here).touch()\n"
        "        while not pathlib.Path(other).exists():\n"
        "            time.sleep(0.01)\n"
        "        return os.getpid()\n"
    )
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    with serving(tmp_path, home, "--workers", "2") as (url, _), ThreadPoolExecutor() as beside:
        until_ready(url)
        # Each waits for the other: with one worker neither would end.
        first = beside.submit(ask, f"{url}/predictions", {"input": {"here": one, "other": two}})
        while not Path(one).exists():
            pass
        # The server is ready when its first worker is; the second takes a moment more.
        while (second := answer(url, {"input": {"here": two, "other": one}})) is None:
            pass
        assert {first.result()["status"], second["status"]} == {"succeeded"}
        assert first.result()["output"] != second["output"]


def test_a_worker_of_several_that_dies_takes_only_its_own_with_it(home: Path, tmp_path: Path) -> None:
    (tmp_path / "cog.yaml").write_text('run: "run.py:Runner"\n')
    (tmp_path / "run.py").write_text(SAYS.format(name="text", word="alive"))
    with serving(tmp_path, home, "--workers", "2", "--no-restart") as (url, _):
        until_ready(url)
        assert ask(f"{url}/predictions", {"input": {"text": "die"}})["status"] == "failed"
        while ask(f"{url}/health-check")["status"] != "READY":
            pass
        assert ask(f"{url}/predictions", {"input": {}})["output"] == "alive"


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


def test_the_terminal_tells_how_setup_ended_and_why_a_prediction_failed(home: Path, tmp_path: Path) -> None:
    (tmp_path / "cog.yaml").write_text('run: "run.py:run"\n')
    (tmp_path / "run.py").write_text("def run(text: str) -> str:\n    raise ValueError(text)\n")
    with serving(tmp_path, home) as (url, process):
        wait_for(process, "Ready.")
        assert ask(f"{url}/predictions", {"input": {"text": "boom"}})["status"] == "failed"
        said = wait_for(process, "ValueError: boom")
        assert said[0].startswith("Traceback")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    (tmp_path / "run.py").write_text("import no_such_thing\n\ndef run(text: str) -> str: ...\n")
    with serving(tmp_path, home) as (_, process):
        assert "ModuleNotFoundError" in "".join(wait_for(process, "The model could not be loaded"))
