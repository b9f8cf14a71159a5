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
        "warning: run.py was here already; cog.yaml, made just now, takes its class Runner: name another one there"
        " where it has none",
        "What was skipped is as it was. To have a file made anew, move it away and say `yard init` again.",
        "Done! For next steps, try: yard run",
    ]
    assert sorted(str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*") if each.is_file()) == sorted(NAMES)
    assert done.returncode == 0


def test_init_in_a_project_says_what_its_own_cog_yaml_does_not_name(yard: Run, tmp_path: Path) -> None:
    theirs = b'predict: "predict.py:Predictor"\nbuild:\n  python_packages: ["numpy"]\n'
    (tmp_path / "cog.yaml").write_bytes(theirs)
    done = yard("init", "--json")
    assert json.loads(done.stdout)["left"] == ["cog.yaml"]
    assert (tmp_path / "cog.yaml").read_bytes() == theirs
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith("warning:")]
    assert "does not name run.py or requirements.txt" in warning
    assert 'run: "run.py:Runner"' in warning
    assert done.returncode == 0


def test_a_second_init_changes_nothing_and_has_nothing_to_warn_of(yard: Run, tmp_path: Path) -> None:
    yard("init")
    for name in NAMES:
        with (tmp_path / name).open("a") as file:
            file.write("# mine\n")
    before = [(tmp_path / name).read_bytes() for name in NAMES]
    done = yard("init", "--json")
    assert json.loads(done.stdout) == {"folder": ".", "created": [], "left": NAMES}
    assert [(tmp_path / name).read_bytes() for name in NAMES] == before
    assert "warning" not in done.stderr


def test_init_follows_no_link_and_says_what_is_in_the_way_of_a_folder(yard: Run, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "cog.yaml").symlink_to(elsewhere)
    (tmp_path / ".github").write_text("mine")
    done = yard("init")
    assert not elsewhere.exists()
    assert (tmp_path / ".github").read_text() == "mine"
    assert done.returncode == 2
    assert ".github/workflows/push.yaml cannot be made" in done.stderr
    assert "hint: move that file away" in done.stderr
    assert "is a file" in yard("init", ".github").stderr


def test_the_workflow_of_a_project_is_yaml_and_no_part_of_a_version(yard: Run, tmp_path: Path) -> None:
    yard("init")
    steps = YAML(typ="safe").load(tmp_path / ".github/workflows/push.yaml")["jobs"]["push"]["steps"]
    assert steps[-1]["env"]["MODELYARD_TOKEN"] == "${{ secrets.MODELYARD_TOKEN }}"
    assert steps[-1]["run"] == "yard push $MODEL"
    files = set(ignore.walk(tmp_path))
    assert "run.py" in files
    assert not any(path.startswith(".github") for path in files)
