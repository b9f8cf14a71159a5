"""The server as a process: what it writes to its log, and where a cluster's probe looks."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from serving import server

from modelyard_runner import log_lines
from modelyard_runner.serve import READY_FILE


@pytest.mark.parametrize(
    ("cog", "rust", "level"),
    [
        (None, None, logging.INFO),
        ("debug", None, logging.DEBUG),
        ("info", None, logging.INFO),
        ("warn", None, logging.WARNING),
        ("Warning", "debug", logging.WARNING),
        ("error", None, logging.ERROR),
        ("nonsense", None, logging.INFO),
        (None, "warn", logging.WARNING),
        (None, "coglet=debug,error", logging.ERROR),
        (None, "coglet=debug", logging.INFO),
        ("", "", logging.INFO),
    ],
)
def test_the_least_level_is_cogs_or_that_of_everything_in_rusts(cog: str | None, rust: str | None, level: int) -> None:
    assert log_lines.level(cog, rust) == level


def test_a_traceback_is_a_field_of_its_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.LogRecord("a.b", logging.WARNING, __file__, 1, "%s went wrong", ("it",), sys.exc_info())
    line = log_lines.Json().format(record)
    told = json.loads(line)
    assert "\n" not in line
    assert (told["level"], told["target"], told["fields"]["message"]) == ("WARN", "a.b", "it went wrong")
    assert told["fields"]["error"].endswith("ValueError: two\nlines")


def test_lines_of_a_json_log_are_objects_whoever_wrote_them(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("def run() -> str:\n    print('one\\ntwo')\n    raise ValueError('no')\n")
    with server("run.py:run", root=tmp_path, LOG_FORMAT="JSON") as one:
        one.predict({}, webhook="nonsense")
        until = time.monotonic() + 20
        while "ValueError: no" not in one.text():
            assert time.monotonic() < until
        told = [json.loads(line) for line in one.text().splitlines()]
    said = [(line["level"], line["target"], line["fields"]["message"]) for line in told]
    assert ("INFO", "model", "one") in said
    assert ("INFO", "model", "two") in said
    assert [level for level, target, _ in said if target == "modelyard_runner.webhook"] == ["WARN"]


# As `python -m modelyard_runner`, with the file in a folder of its own: other tests run meanwhile.
PROBED = """
import sys
from pathlib import Path
from modelyard_runner import __main__, serve

serve.READY_FILE = Path(sys.argv.pop())
sys.exit(__main__.main(sys.argv[1:]))
"""


def test_a_probe_of_a_cluster_finds_a_file_once_setup_is_done(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("def run() -> str:\n    return ''\n")
    (tmp_path / "probed.py").write_text(PROBED)
    inside, outside = tmp_path / "run" / "inside", tmp_path / "run" / "outside"
    with server("run.py:run", str(outside), root=tmp_path, module="probed") as one:
        one.predict({})
        assert not outside.exists()
    with server("run.py:run", str(inside), root=tmp_path, module="probed", KUBERNETES_SERVICE_HOST="10.0.0.1") as one:
        until = time.monotonic() + 20
        while not inside.exists():
            assert time.monotonic() < until, one.text()
            time.sleep(0.01)
    assert Path("/var/run/cog/ready") == READY_FILE


def test_a_schema_that_is_no_json_does_not_stand_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("def run(n: int) -> int:\n    return n\n")
    (tmp_path / ".cog").mkdir()
    (tmp_path / ".cog" / "openapi_schema.json").write_text("{")
    with server("run.py:run", root=tmp_path) as one:
        assert "the schema is ignored, as it is no JSON" in one.text()
        assert one.ask("GET", "/openapi.json").json["components"]["schemas"]["Input"]["required"] == ["n"]
        assert one.predict({"n": "x"}).status == 422


def test_another_python_serves_where_one_is_named_although_this_one_could(tmp_path: Path) -> None:
    """In an image the model's packages may have of what the server needs, in any version."""
    environ = {**os.environ, "COG_PREDICT_TYPE_STUB": "run.py:run", "MODELYARD_SERVER_PYTHON": str(tmp_path / "python")}
    command = [sys.executable, "-m", "modelyard_runner", "--port", "0"]
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"MODELYARD_SERVER_PYTHON is '{tmp_path / 'python'}', which cannot be started: No such file" in done.stderr
    told = tmp_path / "python"
    told.write_text('#!/bin/sh\necho "$MODELYARD_PYTHON $MODELYARD_BOX:$MODELYARD_SERVER_PYTHON $*"\n')
    told.chmod(0o755)
    environ["PYTHONPATH"] = "/box"
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == f"{sys.executable} /box: -m modelyard_runner --port 0\n"
