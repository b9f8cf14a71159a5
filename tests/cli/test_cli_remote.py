"""`yard run OWNER/MODEL` against a real yard."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.yard import Yard

MODEL = """
import time
from pathlib import Path as FilePath
import tempfile

from cog import BaseRunner, Input, Path, ConcatenateIterator
from typing import Any, Optional


class Runner(BaseRunner):
    def run(
        self,
        text: str = Input(default="hello"),
        file: Optional[Path] = Input(default=None),
        copies: int = Input(default=0, ge=0, le=3),
        seconds: float = Input(default=0),
    ) -> Any:
        print(f"working on {text}")
        time.sleep(seconds)
        if text == "fail":
            raise ValueError("it is too late")
        folder = FilePath(tempfile.mkdtemp())
        made = []
        for number in range(copies):
            path = folder / f"copy-{number}.txt"
            path.write_text(file.read_text() + str(number) if file else str(number))
            made.append(Path(path))
        return {"text": text, "copies": made} if made else text
"""
TALKS = """
from cog import BaseRunner, ConcatenateIterator, Input


class Runner(BaseRunner):
    def run(self, words: int = Input(default=3)) -> ConcatenateIterator[str]:
        for number in range(words):
            yield f"word{number} "
"""


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    yard = Yard(tmp_path_factory.mktemp("yard"), settings={"MODELYARD_FSYNC": "process"}).start()
    yard.push("model", MODEL)
    yard.push("talks", TALKS)
    yield yard
    yard.end()


def test_a_result_is_printed_and_logs_go_beside_it(yard: Yard) -> None:
    done = yard.command("run", "yard/model", "-i", "text=you")
    assert (done.returncode, done.stdout) == (0, "you\n")
    assert "working on you" in done.stderr
    assert "/p/" in done.stderr


def test_files_go_there_and_come_back(yard: Yard, tmp_path: Path) -> None:
    (tmp_path / "näme.txt").write_text("content")
    done = yard.command("run", "yard/model", "-i", "file=@näme.txt", "-i", "copies=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert [(tmp_path / name).read_text() for name in shown["copies"]] == ["content0", "content1"]
    assert yard.http.get("/v1/files").json()["results"][0]["name"] == "näme.txt"


def test_json_has_the_whole_outcome(yard: Yard) -> None:
    done = yard.command("run", "yard/talks", "--json", '{"words": 2}')
    shown = json.loads(done.stdout)
    assert (shown["status"], shown["output"]) == ("succeeded", ["word0 ", "word1 "])
    assert shown["metrics"]["predict_time"] >= 0
    assert yard.command("run", "yard/talks", "-i", "words=2").stdout == "word0 word1 \n"


def test_a_version_may_be_named(yard: Yard) -> None:
    version = yard.http.get("/v1/models/yard/model").json()["latest_version"]["id"]
    # `yard images` shows the first twelve.
    for spelling in (version, version[:12], version[:4]):
        assert yard.command("run", f"yard/model:{spelling}").stdout == "hello\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("yard/model", "-i", "text=fail"), "it is too late"),
        (("yard/model", "-i", "copies=9"), 'invalid input "copies": number must be at most 3'),
        (("yard/model", "-i", "texte=x"), 'unknown input "texte"'),
        (("yard/model", "-i", "file=@missing"), "there is no such file"),
        (("yard/nothing",), "There is no model yard/nothing"),
        (("fe/python:3.11",), "hint: docker:fe/python:3.11 is an image of that name"),
        (("yard/model:" + "0" * 64,), "has no such version"),
        (("yard/model:ffffffff",), "yard/model has no version that begins with ffffffff"),
        (("yard/model:6b",), "wanted: OWNER/NAME:VERSION with a version's id, of which at least 4 characters"),
    ],
)
def test_what_cannot_work_says_why(yard: Yard, arguments: tuple[str, ...], said: str) -> None:
    done = yard.command("run", *arguments)
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert 'Traceback (most recent call last):\n  File "/' not in done.stderr.split("error:")[-1]


def test_no_yard_and_no_login_say_what_to_do(yard: Yard, tmp_path: Path) -> None:
    gone = yard.command("run", "yard/model", MODELYARD_URL="http://127.0.0.1:9")
    assert "no yard answers at http://127.0.0.1:9" in gone.stderr
    stranger = yard.command("run", "yard/model", MODELYARD_TOKEN="", HOME=str(tmp_path))
    assert "you are not logged in" in stranger.stderr
    assert "yard login" in stranger.stderr


def test_it_may_be_left_running(yard: Yard) -> None:
    done = yard.command("run", "yard/model", "-i", "seconds=0.5", "--detach")
    assert yard.finished(done.stdout.strip())["output"] == "hello"


def start(yard: Yard, *arguments: str, **options: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "modelyard", "run", *arguments]
    return subprocess.Popen(command, env=yard.environment, **options)  # type: ignore[call-overload, no-any-return]


def test_an_interrupt_cancels(yard: Yard) -> None:
    process = start(yard, "yard/model", "-i", "seconds=60", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    while b"working on" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert b"Traceback" not in process.stderr.read()
    assert yard.http.get("/v1/predictions").json()["results"][0]["status"] == "canceled"


def test_a_yard_that_restarts_is_waited_for(yard: Yard) -> None:
    process = start(yard, "yard/model", "-i", "seconds=2", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    while b"working on" not in process.stderr.readline():
        pass
    yard.kill()
    time.sleep(0.5)
    yard.start()
    out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"hello\n"), said
    assert said.count(b"trying again") <= 1


def test_on_a_terminal_words_come_as_they_are_said(yard: Yard) -> None:
    ours, theirs = pty.openpty()
    process = start(yard, "yard/talks", "-i", "words=5", stdout=theirs, stderr=subprocess.DEVNULL)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait(30) == 0
    assert shown.decode().strip() == "word0 word1 word2 word3 word4"
