"""What commands do when nobody says otherwise."""

from __future__ import annotations

import re
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest
from yard_process import YARD, Run, environment

SERVE_PORT = 8393


def test_serve_without_a_port_listens_on_8393(yard: Run, home: Path, tmp_path: Path) -> None:
    yard("init", "fresh")
    process = subprocess.Popen(
        [YARD, "serve"], cwd=tmp_path / "fresh", env=environment(home), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = ""
    try:
        for line in process.stderr:
            said += line
            if found := re.search(r"http://\S+", line):
                assert found[0] == f"http://localhost:{SERVE_PORT}", said
                with urllib.request.urlopen(f"http://127.0.0.1:{SERVE_PORT}/health-check", timeout=30) as reply:
                    assert reply.status == 200
                return
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        process.stderr.close()
    # Where somebody else has the port, the refusal says which one was wanted.
    assert re.search(rf"cannot listen on 127\.0\.0\.1:{SERVE_PORT}\b", said), said


def test_the_help_of_serve_names_its_port(yard: Run) -> None:
    assert f"[default: {SERVE_PORT}]" in yard("serve", "--help").stdout


@pytest.mark.parametrize(("name", "like"), [("yard/Bad_Name", "yard/bad-name"), ("yard/a b", "yard/a-b")])
def test_a_name_that_no_model_may_have_is_refused_before_anything_is_packed(
    yard: Run, tmp_path: Path, name: str, like: str
) -> None:
    (tmp_path / "cog.yaml").write_text("run: run.py:run\n")
    done = yard("push", name)
    assert done.returncode == 2
    assert "small letters and digits" in done.stderr
    assert like in done.stderr


def test_an_address_without_its_scheme_is_told_with_it(yard: Run) -> None:
    done = yard("login", "localhost:9273", "--token", "r8_" + "x" * 37)
    assert done.returncode == 2
    assert "http://localhost:9273" in done.stderr
