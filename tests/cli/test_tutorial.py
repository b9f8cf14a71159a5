"""The tutorial, run as it stands: each command, each file, each answer; only port and token are this test's own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from yard_process import environment

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"
PORT = "9273"
TOKEN = "r8_…"
BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Step:
    """A command with the output that the tutorial shows, or a file (`command` is its name) to write."""

    command: str
    text: str
    is_file: bool = False


def steps() -> Iterator[Step]:
    for kind, name, body in BLOCK.findall(TUTORIAL.read_text()):
        if name:
            yield Step(name, body, is_file=True)
        elif kind == "console":
            for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                yield Step(command, output)


class Terminal:
    """A person at a shell: a folder, a port, a token; `yard up` stays open in a second window."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start = folder
        self.token = ""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = str(taken.getsockname()[1])
        bin_folder = str(Path(sys.executable).parent)
        self.environ = environment(folder) | {
            "MODELYARD_PORT": self.port,
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        }
        self.window: subprocess.Popen[str] | None = None

    def play(self, step: Step) -> str:
        if step.is_file:
            (self.folder / step.command).write_text(self._own(step.text))
            return step.text
        if step.command.startswith("cd "):
            self.folder = self.folder / step.command.removeprefix("cd ")
            return ""
        if step.command == "yard up":
            return self._open_window()
        done = subprocess.run(
            ["bash", "-c", self._own(step.command)],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        return self._tutorials(done.stdout)

    def _own(self, text: str) -> str:
        return text.replace(PORT, self.port).replace(TOKEN, self.token)

    def _tutorials(self, text: str) -> str:
        return text.replace(self.port, PORT)

    def _open_window(self) -> str:
        self.window = subprocess.Popen(
            ["yard", "up"],
            cwd=self.start,
            env=self.environ,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.window.stderr is not None
        lines = [self.window.stderr.readline() for _ in range(2)]
        found = re.search(r"r8_\w+", lines[1])
        assert found, lines
        self.token = found[0]
        # Read on, or a yard that says much would wait for us.
        threading.Thread(target=self.window.stderr.read, daemon=True).start()
        return self._tutorials("".join(lines)) + "\n"

    def close(self) -> None:
        if self.window is not None:
            self.window.send_signal(signal.SIGINT)
            self.window.wait(30)


def pattern(shown: str) -> re.Pattern[str]:
    """What the tutorial shows, `…` standing for anything: on a line of its own also for several lines or none."""
    return re.compile("".join(map(_line, shown.splitlines())))


def _line(shown: str) -> str:
    return r"(?:.*\n)*?" if shown == "…" else ".*".join(map(re.escape, shown.split("…"))) + r"\n?"


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


def test_the_tutorial_does_what_it_says(terminal: Terminal) -> None:
    played = list(steps())
    assert len(played) > 15
    for step in played:
        output = terminal.play(step)
        if not step.is_file:
            assert pattern(step.text).fullmatch(output), (
                f"$ {step.command}\n{output}\n--- the tutorial shows:\n{step.text}"
            )
