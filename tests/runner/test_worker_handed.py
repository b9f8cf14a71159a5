"""A worker may be told on stdin what is to stand in no environment that others can look up."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from modelyard_runner import protocol
from tests.runner.harness import BOX

MODEL = """
import os

def run() -> str:
    return "|".join([os.environ["KEY"], os.environ.get("MODELYARD_WORKER", "nothing"), open(0).read()])
"""


def test_what_is_handed_over_on_stdin_is_heeded_and_its_variables_are_the_models(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(MODEL)
    (tmp_path / "scratch").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "link"))
    listener.listen(1)
    listener.settimeout(60)
    told = {"link": f"unix:{tmp_path}/link", "token": "secret", "ref": "run.py:run", "root": str(tmp_path)}
    handed = {"worker": {**told, "scratch": str(tmp_path / "scratch")}, "environment": {"KEY": "hidden"}}
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": BOX, "MODELYARD_WORKER": "-"}
    command = [sys.executable, "-m", "modelyard_runner", "worker"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(handed).encode() + b"\n")
        process.stdin.flush()
        connection, _ = listener.accept()
        connection.settimeout(60)
        connection.sendall(protocol.encode({"kind": "predict", "id": "p", "input": {}}))
        decoder, came = protocol.Decoder(), []
        while not any(frame["kind"] in ("done", "failed", "setup_failed") for frame in came):
            came += decoder.feed(connection.recv(65536))
        process.kill()
    listener.close()
    assert came[0]["token"] == "secret"
    assert came[-1].get("output") == "hidden|nothing|", came[-1]


def test_a_worker_that_is_told_nothing_says_so(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": BOX, "MODELYARD_WORKER": "-"}
    command = [sys.executable, "-m", "modelyard_runner", "worker"]
    done = subprocess.run(command, env=environment, input="", capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "MODELYARD_WORKER" in done.stderr
    assert "Traceback" not in done.stderr
