"""The second push costs what an edit costs: ratios of times measured side by side, and what they come from."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.faults.yard import Yard

READ_TEXT = Path(__file__).resolve().parents[2] / "examples" / "read-text"
EDITS = 7
MIB = 2**20

DRAWS = """
from cog import BaseRunner
from PIL import Image
class Runner(BaseRunner):
    def run(self, side: int) -> str:
        return str(Image.new("RGB", (side, side)).size)
"""


@pytest.fixture
def fresh_yard(make_yard: Callable[..., Yard], tmp_path: Path) -> Iterator[Yard]:
    """A yard and a user whose home and whose uv cache are empty; what they fetched does not stay on the disk."""
    cache = tmp_path / "uv-cache"
    yield make_yard(settings={"UV_CACHE_DIR": str(cache)}).start()
    shutil.rmtree(cache, ignore_errors=True)


def push(yard: Yard, project: Path, **variables: str) -> tuple[float, dict[str, Any]]:
    """Build and push; gives the seconds that it took and what it says."""
    began = time.perf_counter()
    done = yard.command("push", "--json", "yard/model", cwd=project, **variables)
    seconds = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    return seconds, dict(json.loads(done.stdout))


def answer(yard: Yard, version: str, values: dict[str, Any]) -> dict[str, Any]:
    shown = yard.finished(yard.create(version, values, prefer="wait")["id"], 120)
    assert shown["status"] == "succeeded", shown
    return shown


def edit(project: Path, number: int) -> None:
    with (project / "run.py").open("a") as source:
        source.write(f"\n# edit {number}\n")


def python_start() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - began


@pytest.mark.timeout(400)
def test_a_push_after_an_edit_takes_a_tenth_of_the_first_time_and_no_longer_than_thirty_starts_of_python(
    fresh_yard: Yard, tmp_path: Path
) -> None:
    project = tmp_path / "read-text"
    shutil.copytree(READ_TEXT, project, ignore=shutil.ignore_patterns(".cog", "__pycache__"))
    sign = base64.b64encode((project / "samples" / "sign.jpg").read_bytes()).decode()
    began = time.perf_counter()
    _, pushed = push(fresh_yard, project)
    shown = answer(fresh_yard, pushed["version"], {"images": [f"data:image/jpeg;base64,{sign}"]})
    first_time = time.perf_counter() - began
    assert "Harbour" in shown["output"][0]["text"]

    versions = {pushed["version"]}
    pushes, starts = [], []
    for number in range(EDITS):
        edit(project, number)
        # In turns, so that a busy moment of this machine is both sides' trouble.
        starts += [python_start() for _ in range(4)]
        seconds, pushed = push(fresh_yard, project)
        pushes.append(seconds)
        versions.add(pushed["version"])
    assert len(versions) == 1 + EDITS
    told = f"first time {first_time:.2f} s, pushes {pushes}, starts of Python {starts}"
    assert median(pushes) <= first_time / 10, told
    assert median(pushes) <= 30 * median(starts), told


def test_a_push_after_an_edit_sends_the_source_alone_and_asks_no_index_and_its_version_makes_no_environment(
    fresh_yard: Yard, tmp_path: Path
) -> None:
    project = tmp_path / "draws"
    project.mkdir()
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    build = f'build:\n  python_version: "{minor}"\n  python_requirements: requirements.txt\n'
    (project / "cog.yaml").write_text(f'{build}run: "run.py:Runner"\n')
    (project / "requirements.txt").write_text("pillow>=11.3,<14\n")
    (project / "run.py").write_text(DRAWS)
    (project / "weights.bin").write_bytes(os.urandom(12 * MIB))
    environments = fresh_yard.data / "store" / "environments"

    _, first = push(fresh_yard, project)
    assert first["sent_bytes"] > 12 * MIB
    assert answer(fresh_yard, first["version"], {"side": 3})["output"] == "(3, 3)"
    made = sorted(path.name for path in environments.iterdir())
    assert any((environments / name / "bin" / "python").exists() for name in made)

    # Whoever resolved or fetched anything now would have nobody to ask, and nothing in a cache. (Another index would be
    # a reason to resolve again; a way to it that is cut is none.)
    cut = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
    cut |= {name.lower(): value for name, value in cut.items()} | {"NO_PROXY": "", "no_proxy": ""}
    nowhere = {**cut, "UV_CACHE_DIR": str(tmp_path / "empty"), "UV_HTTP_RETRIES": "0"}
    edit(project, 1)
    _, second = push(fresh_yard, project, **nowhere)
    assert second["version"] != first["version"]
    assert 0 < second["sent_bytes"] < MIB
    assert not (tmp_path / "empty").exists(), "uv was started"
    assert answer(fresh_yard, second["version"], {"side": 4})["output"] == "(4, 4)"
    assert sorted(path.name for path in environments.iterdir()) == made

    _, same = push(fresh_yard, project, **nowhere)
    assert (same["version"], same["sent_bytes"]) == (second["version"], 0)

    # Had something been resolved, it would have failed: other requirements are, and do.
    (project / "requirements.txt").write_text("pillow>=11.2,<14\n")
    refused = fresh_yard.command("push", "yard/model", cwd=project, **nowhere)
    assert refused.returncode == 1
    assert "Resolving" in refused.stderr
    assert (tmp_path / "empty").exists(), refused.stderr
