"""`yard exec` with real programs: where they run, what they are given, and how their end is ours."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from yard_process import YARD, Run, environment

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SHOW = (
    "import json, os, sys; print(json.dumps({'cwd': os.getcwd(), 'words': sys.argv[1:], 'python': sys.executable,"
    " 'variables': dict(os.environ)}))"
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that names no model at all."""
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "cog.yaml").write_text(
        f'build:\n  python_version: "{PYTHON}"\nenvironment:\n  - FROM_FILE=file\n  - BOTH=file\n'
    )
    return folder


def test_it_runs_in_the_projects_folder_with_its_python_and_variables(yard: Run, project: Path) -> None:
    (project / "below").mkdir()
    flags = ("-e", "BOTH=flag", "-e", "MINE")
    done = yard(
        "exec", *flags, "python", "-c", SHOW, cwd=project / "below", MODELYARD_TOKEN="r8_x", MINE="1", THEIRS="1"
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["cwd"] == str(project)
    assert shown["python"] != sys.executable
    variables = shown["variables"]
    assert (variables["FROM_FILE"], variables["BOTH"], variables["MINE"]) == ("file", "flag", "1")
    assert not variables.keys() & {"MODELYARD_TOKEN", "THEIRS"}
    imports = yard("exec", "python", "-c", "import cog; print(cog.BaseRunner.__name__)", cwd=project)
    assert imports.stdout == "BaseRunner\n"


def test_the_server_of_an_image_runs_beside_the_models_packages(home: Path, project: Path) -> None:
    (project / "run.py").write_text(
        "import importlib.util, sys\n\n\ndef Runner() -> list[str]:\n"
        "    return [sys.executable, str(importlib.util.find_spec('uvicorn'))]\n"
    )
    with (project / "cog.yaml").open("a") as file:
        file.write('run: "run.py:Runner"\n')
    with socket.socket() as finder:
        finder.bind(("127.0.0.1", 0))
        port = finder.getsockname()[1]
    process = subprocess.Popen(
        [YARD, "exec", "-e", f"PORT={port}", "python", "-m", "cog.server.http", "--host", "127.0.0.1"],
        cwd=project, env=environment(home), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        python, found = _predict(port, process)
        assert "environments" in python  # the model's own
        assert found == "None"
    finally:
        process.terminate()
        assert process.wait(30) == 0


def _predict(port: int, server: subprocess.Popen[str]) -> list[str]:
    """The output of a prediction, once the server is ready for it."""
    url, kind = f"http://127.0.0.1:{port}/predictions", {"Content-Type": "application/json"}
    until = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, b"{}", kind)) as answer:
                output: list[str] = json.load(answer)["output"]
                return output
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the server is not ready")


def test_the_server_of_an_image_says_what_is_missing_where_no_yard_is(yard: Run, project: Path) -> None:
    done = yard("exec", "-e", "MODELYARD_SERVER_PYTHON=", "python", "-m", "cog.server.http", cwd=project)
    assert done.returncode == 1
    assert "ERROR: the server needs uvicorn, which is not installed here.\nhint: pip install" in done.stderr
    done = yard("exec", "-e", "MODELYARD_SERVER_PYTHON=/no/python", "python", "-m", "cog.server.http", cwd=project)
    assert "'/no/python', which cannot be started: No such file or directory\nhint: " in done.stderr
    assert "Traceback" not in done.stderr


def test_options_after_the_command_are_the_commands(yard: Run, project: Path) -> None:
    words = ["-e", "x", "-f", "--help", "--debug", "--use-cog-base-image", "--", "-p", "0"]
    done = yard("exec", "--use-cog-base-image", "python", "-c", SHOW, *words, cwd=project)
    assert json.loads(done.stdout)["words"] == words


def test_standard_input_is_passed_through(yard: Run, project: Path) -> None:
    assert yard("exec", "cat", cwd=project, stdin="one\ntwo").stdout == "one\ntwo"


def test_standard_input_that_nobody_reads_holds_nothing_up(home: Path, project: Path) -> None:
    process = subprocess.Popen([YARD, "exec", "true"], cwd=project, env=environment(home), stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.wait(60) == 0
    process.stdin.close()


def test_a_terminal_is_passed_through(home: Path, project: Path) -> None:
    ours, its = pty.openpty()
    done = subprocess.run(
        [YARD, "exec", "python", "-c", "import sys; print([one.isatty() for one in (sys.stdin, sys.stdout)])"],
        cwd=project,
        env=environment(home),
        stdin=its,
        stdout=its,
        timeout=60,
        check=False,
    )
    os.close(its)
    assert done.returncode == 0
    assert os.read(ours, 1000).decode().strip() == "[True, True]"
    os.close(ours)


@pytest.mark.parametrize("ending", ["exit 7", "kill -9 $$", "exit 1"])
def test_a_command_that_fails_makes_it_end_with_1(ending: str, yard: Run, project: Path) -> None:
    done = yard("exec", "sh", "-c", ending, cwd=project)
    assert (done.returncode, done.stdout) == (1, "")


def test_ctrl_c_is_the_commands_to_answer(home: Path, project: Path) -> None:
    program = "trap 'echo heard; exit 0' INT; echo ready; while :; do sleep 0.1; done"
    process = subprocess.Popen(
        [YARD, "exec", "sh", "-c", program],
        cwd=project,
        env=environment(home),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    assert process.stdout.read() == "heard\n"
    process.stdout.close()
    assert process.wait(30) == 0


def test_a_terminated_exec_takes_its_command_with_it(home: Path, project: Path) -> None:
    process = subprocess.Popen(
        [YARD, "exec", "python", "-c", "import time; print('ready', flush=True); time.sleep(60)"],
        cwd=project,
        env=environment(home),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.read() == "", "its end of the pipe is closed: it is gone"
    process.stdout.close()
    assert process.wait(30) == 1


@pytest.mark.parametrize("flags", [("-p", "8888"), ("-p", "127.0.0.1:8888", "-p", "[::1]:80"), ("-p", "90:90")])
def test_ports_are_taken(flags: tuple[str, ...], yard: Run, project: Path) -> None:
    done = yard("exec", *flags, "true", cwd=project)
    assert done.returncode == 0
    assert "warning" not in done.stderr


def test_a_port_that_would_be_mapped_is_said_not_to_be(yard: Run, project: Path) -> None:
    done = yard("exec", "-p", "9000:8888", "true", cwd=project)
    assert done.returncode == 0
    assert "warning: ports are not mapped here: what listens on 8888 is reached at 8888, not at 9000" in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ((), 2, "error: exec is given no command\nhint: yard exec python"),
        (("-p", "0", "true"), 2, 'error: invalid port "0": wanted is PORT or HOST:PORT'),
        (("-p", "70000", "true"), 2, 'error: invalid port "70000": '),
        (("-p", "web", "true"), 2, 'error: invalid port "web": '),
        (("-p", "70000:80", "true"), 2, 'error: invalid port "70000:80": '),
        (("-p", ":80", "true"), 2, 'error: invalid port ":80": '),
        (("-e", "X", "true"), 2, "error: --env is 'X', and there is no variable X here; wanted: NAME=VALUE"),
        (("-e", "=1", "true"), 2, "error: --env is '=1'; wanted: NAME=VALUE"),
        (("--gpus", "some", "true"), 2, "error: --gpus is 'some'; wanted: all"),
        (("no-such-program",), 1, "error: no-such-program: there is no such command\nhint: "),
        (("./cog.yaml",), 1, "error: ./cog.yaml: Permission denied\nhint: chmod +x ./cog.yaml"),
        (("-f", "missing.yaml", "true"), 1, "error: missing.yaml not found in "),
    ],
)
def test_what_cannot_be_run_is_said(words: tuple[str, ...], status: int, said: str, yard: Run, project: Path) -> None:
    done = yard("exec", *words, cwd=project)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert status == 1 or not (project / ".cog").exists(), "wrong usage is told before anything is made"
