"""`yard init` makes what is missing and touches nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ruamel.yaml import YAML
from yard_process import Run

from modelyard.packaging import config, ignore, schema

NAMES = ["cog.yaml", "run.py", "requirements.txt", ".dockerignore", ".github/workflows/push.yaml"]


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
        "Creating .github/workflows/push.yaml",
        "Done! For next steps, try: yard run",
    ]
    assert sorted(str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*") if each.is_file()) == sorted(NAMES)
    assert done.returncode == 0


def test_the_workflow_of_a_project_is_yaml_and_no_part_of_a_version(yard: Run, tmp_path: Path) -> None:
    yard("init")
    steps = YAML(typ="safe").load(tmp_path / ".github/workflows/push.yaml")["jobs"]["push"]["steps"]
    assert steps[-1]["env"]["MODELYARD_TOKEN"] == "${{ secrets.MODELYARD_TOKEN }}"
    assert steps[-1]["run"] == "yard push $MODEL"
    files = set(ignore.walk(tmp_path))
    assert "run.py" in files
    assert not any(path.startswith(".github") for path in files)
