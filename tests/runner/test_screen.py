"""What models print on a terminal: in whose line it stands, and that it stands there once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from supervised import Heard, run, supervised

from modelyard_runner import frames
from modelyard_runner.screen import Screen

pytest_anyio = pytest.mark.anyio


def test_half_a_line_is_ended_when_its_author_is_interrupted_or_done() -> None:
    said: list[str] = []
    screen = Screen(said.append)
    for author, text in (("a", "one "), ("a", "two"), ("b", "three\n"), ("a", ""), ("a", "four")):
        screen.put(author, text)
    screen.end("b")
    screen.end("a")
    screen.end("a")
    screen.put("b", "five\n")
    assert "".join(said) == "one two\nthree\nfour\nfive\n"


@pytest_anyio
async def test_what_a_canceled_prediction_printed_last_is_a_line_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(
        "import time\n"
        "def run(long: bool) -> str:\n"
        "    print('half', end='', flush=True) if long else print('next')\n"
        "    time.sleep(60 if long else 0)\n"
        "    return ''\n"
    )
    said: list[str] = []
    async with supervised("run.py:run", root=tmp_path, screen=Screen(said.append)) as supervisor:
        heard = Heard()
        supervisor.predict("p1", b'{"long":true}', None, heard)
        await heard.until(frames.Log)
        supervisor.cancel("p1")
        assert isinstance(await heard.end, frames.Canceled)
        await run(supervisor, {"long": False}, "p2")
    assert "".join(said) == "half\nnext\n"


@pytest_anyio
async def test_what_a_batch_prints_and_raises_is_in_each_log_and_once_on_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(
        "from cog import batch\n"
        "@batch(max_size=3, max_wait_ms=60_000)\n"
        "def run(n: list[int]) -> list[int]:\n"
        "    print('together', n)\n"
        "    raise ValueError('none of them')\n"
    )
    said: list[str] = []
    async with supervised("run.py:run", root=tmp_path, screen=Screen(said.append)) as supervisor:
        listeners = [Heard(), Heard(), Heard()]
        for number, heard in enumerate(listeners):
            supervisor.predict(f"p{number}", json.dumps({"n": number}).encode(), None, heard)
        for heard in listeners:
            end = await heard.end
            assert isinstance(end, frames.Failed)
            assert "ValueError: none of them" in end.traceback
            assert "".join(f.text for f in heard.frames if isinstance(f, frames.Log)) == "together [0, 1, 2]\n"
    text = "".join(said)
    assert text.count("together [0, 1, 2]\n") == 1
    assert text.count("ValueError: none of them\n") == 1
