"""`yard init` makes what is missing and touches nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from yard_process import Run

from modelyard.packaging import config, schema

NAMES = ["cog.yaml", "run.py", "requirements.txt", ".dockerignore"]


def test_init_makes_a_project_that_loads_and_has_a_schema(yard: Run, tmp_path: Path) -> None:
    done = yard("init", "my-model", "--json")
    assert json.loads(done.stdout) == {"folder": "my-model", "created": NAMES, "left": []}
    found = config.load(tmp_path / "my-model")
    assert found.python_version == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert found.warnings == ()
    document = schema.read(tmp_path / "my-model", found.run)
    assert list(document["components"]["schemas"]["Input"]["properties"]) == ["text", "times"]


def test_init_leaves_what_is_there(yard: Run, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("mine")
    done = yard("init")
    assert (tmp_path / "run.py").read_text() == "mine"
    assert done.stderr.splitlines() == [
        "Setting up the current directory for use with Cog...",
        "Creating cog.yaml",
        "Skipped existing run.py",
        "Creating requirements.txt",
        "Creating .dockerignore",
        "Done! For next steps, try: yard run -i text=world",
    ]
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_file()) == sorted(NAMES)
    assert done.returncode == 0
