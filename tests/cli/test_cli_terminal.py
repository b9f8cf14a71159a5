"""What only a person at a terminal sees: colour, a text that grows, a question for the token."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

from yard_process import YARD, Server, environment


class Screen:
    """A terminal with the command in it."""

    def __init__(self, *arguments: str, cwd: Path, home: Path, columns: int = 80, **variables: str) -> None:
        self._terminal, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environ = {**environment(home), "TERM": "xterm", "NO_COLOR": "", **variables}
        self.process = subprocess.Popen([YARD, *arguments], cwd=cwd, env=environ, stdin=end, stdout=end, stderr=end)
        os.close(end)
        self.shown = ""

    def until(self, text: str = "") -> str:
        """Read until `text` is shown; without one, to the end."""
        deadline = time.monotonic() + 30
        while not (text and text in self.shown) and time.monotonic() < deadline:
            if select.select([self._terminal], [], [], 0.1)[0]:
                try:
                    piece = os.read(self._terminal, 4096)
                except OSError:  # Linux's way to say that nobody writes any more
                    break
                if not piece:
                    break
                self.shown += piece.decode()
        return self.shown.replace("\r\n", "\n")

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def close(self) -> None:
        self.process.wait(30)
        os.close(self._terminal)


def test_errors_are_coloured_for_a_person_unless_they_said_no(home: Path, tmp_path: Path) -> None:
    seen = []
    for variables, more in (({}, []), ({"NO_COLOR": "1"}, []), ({}, ["--no-color"])):
        screen = Screen(*more, "nope", cwd=tmp_path, home=home, **variables)
        seen.append("\x1b[31merror:" in screen.until())
        screen.close()
    assert seen == [True, False, False]


def test_a_text_appears_as_it_is_made(home: Path, tmp_path: Path) -> None:
    (tmp_path / "cog.yaml").write_text('run: "run.py:Runner"\n')
    (tmp_path / "run.py").write_text(
        "import pathlib, time\n"
        "from cog import BaseRunner, ConcatenateIterator\n"
        "class Runner(BaseRunner):\n"
        "    def run(self) -> ConcatenateIterator[str]:\n"
        "        yield 'once upon'\n"
        "        while not pathlib.Path('go').exists():\n"
        "            time.sleep(0.01)\n"
        "        yield ' a time'\n"
    )
    screen = Screen("run", cwd=tmp_path, home=home)
    assert screen.until("once upon").endswith("once upon")
    (tmp_path / "go").touch()
    assert screen.until().endswith("once upon a time\n")
    screen.close()
    assert screen.process.returncode == 0


def test_the_token_is_asked_for_and_not_shown(server: Server, home: Path, tmp_path: Path) -> None:
    screen = Screen("login", server.url, cwd=tmp_path, home=home)
    screen.until("Token for")
    screen.type(server.token + "\n")
    shown = screen.until("as yard")
    screen.close()
    assert screen.process.returncode == 0
    assert server.token not in shown


def test_a_question_can_be_left_with_ctrl_c(server: Server, home: Path, tmp_path: Path) -> None:
    screen = Screen("login", server.url, cwd=tmp_path, home=home)
    screen.until("Token for")
    screen.process.send_signal(signal.SIGINT)
    shown = screen.until()
    screen.close()
    assert screen.process.returncode == 130
    assert "Traceback" not in shown
