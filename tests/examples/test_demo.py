"""What `make run` shows: three models pushed and run by the official client, then a yard that keeps serving."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.timeout(300)
def test_the_demonstration_runs_everything_and_serves_until_it_is_stopped(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "scripts/demo.py"],
        cwd=ROOT,
        env={**environ, "PORT": str(port), "MODELYARD_DATA": str(tmp_path / "yard")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = ""
    try:
        for line in process.stdout:
            said += line
            if line.startswith("Serving."):
                break
        assert "    hello world\n" in said
        assert "the lake as a drawing: " in said
        assert "    TOTAL EUR  12.00\n" in said
        assert re.search(r"^Token    r8_[A-Za-z0-9]{37}$", said, re.MULTILINE), said
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as reply:
            assert reply.status == 200
    finally:
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        process.stdout.close()
    assert process.wait(60) == 0, said + rest
    assert (tmp_path / "yard" / "results" / "edges.jpg").stat().st_size > 10_000


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = subprocess.run(
            [sys.executable, "scripts/demo.py"],
            cwd=ROOT,
            env={**os.environ, "PORT": str(taken.getsockname()[1]), "MODELYARD_DATA": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: port ")
    assert "is in use; choose another: make run PORT=…" in done.stderr
    assert "Traceback" not in done.stderr
