"""`yard doctor`: what it prints, where, and the statuses that it ends with."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from yard_process import YARD, Run, environment

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
RUNNER = "class Runner:\n    def run(self, text: str) -> str:\n        return text\n"
OLD = "from cog import BasePredictor\n\n\nclass Predictor(BasePredictor):\n    def predict(self) -> str: ...\n"
IMPORT = "from cog.types import ExperimentalFeatureWarning\n"

Doctor = Callable[..., CompletedProcess[str]]


@pytest.fixture
def doctor(yard: Run, tmp_path: Path) -> Doctor:
    """`doctor(*arguments, cwd=…)` on a machine whose Docker and GPUs are not looked at."""

    def run(*arguments: str, cwd: Path = tmp_path) -> CompletedProcess[str]:
        return yard("doctor", *arguments, cwd=cwd, COG_SKIP_DOCKER_CHECK="1", COG_SKIP_GPU_CHECK="1")

    return run


def project(root: Path, **files: str) -> Path:
    for name, text in {"cog_yaml": 'run: "run.py:Runner"\n', "run": RUNNER, **files}.items():
        (root / ("cog.yaml" if name == "cog_yaml" else f"{name}.py")).write_text(text)
    return root


def old_project(root: Path) -> None:
    (root / "cog.yaml").write_text("predict: predict.py:Predictor  # mine\n")
    (root / "predict.py").write_text(OLD)


def test_a_new_project_has_no_issues_and_all_is_said_on_stderr(yard: Run, doctor: Doctor, tmp_path: Path) -> None:
    yard("init", "fresh")
    done = doctor(cwd=tmp_path / "fresh")
    assert (done.returncode, done.stdout) == (0, "")
    lines = done.stderr.splitlines()
    assert "NOTE: yard doctor is experimental." in lines[0]
    assert lines[1] == "Running yard doctor..."
    groups = ["Config", "Python", "Environment"]
    assert [line for line in lines if line in groups] == groups
    assert "✔ Predict reference" in lines
    assert lines[-1] == "no issues found"


def test_warnings_alone_end_with_status_0_and_name_the_way_out(doctor: Doctor, tmp_path: Path) -> None:
    old_project(tmp_path)
    done = doctor()
    assert done.returncode == 0
    assert "⚠ Deprecated predict interface names\n" in done.stderr
    assert "\n  cog.yaml:1 — predict in cog.yaml is deprecated; use run with run.py:Runner\n" in done.stderr
    assert done.stderr.endswith('Found 2 warnings. Run "yard doctor --fix" to auto-fix.\n')


def test_an_error_ends_with_status_1_and_says_what_to_do(doctor: Doctor, tmp_path: Path) -> None:
    project(tmp_path, run="class Other: ...\n")
    done = doctor()
    assert done.returncode == 1
    assert (
        '✗ Predict reference\n  cog.yaml:1 — class "Runner" not found in run.py; found: Other\n'
        "  Remediation: Add class Runner to run.py or update the run field in cog.yaml\n"
    ) in done.stderr
    assert done.stderr.endswith("Found 1 error.\n")


def test_a_folder_without_a_project_is_an_error(doctor: Doctor) -> None:
    done = doctor()
    assert done.returncode == 1
    assert '  cog.yaml not found\n  Remediation: Run "yard init" to create a cog.yaml\n' in done.stderr


def test_fix_mends_what_it_can_and_a_second_look_is_clean(doctor: Doctor, tmp_path: Path) -> None:
    old_project(tmp_path)
    done = doctor("--fix")
    assert done.returncode == 0
    assert "Running yard doctor --fix...\n" in done.stderr
    assert "  Fixed: predict-to-run-migration (Deprecated predict interface names)\n" in done.stderr
    assert done.stderr.endswith("Fixed 2 issues.\n")
    assert (tmp_path / "cog.yaml").read_text() == 'run: "run.py:Runner"  # mine\n'
    assert not (tmp_path / "predict.py").exists()
    assert doctor().stderr.endswith("no issues found\n")


def test_fix_says_what_remains(doctor: Doctor, tmp_path: Path) -> None:
    project(tmp_path, run=IMPORT + "class Runner:\n    def run(self): ...\n")
    done = doctor("--fix")
    assert done.returncode == 0
    assert "  run.py:2 — Runner.run() is missing a return type annotation\n  Remediation: " in done.stderr
    assert done.stderr.endswith("Fixed 1 issue. 1 warning remaining.\n")


def test_fix_that_cannot_be_done_says_why_and_ends_with_status_1(doctor: Doctor, tmp_path: Path) -> None:
    old_project(tmp_path)
    (tmp_path / "run.py").write_text("mine")
    done = doctor("--fix")
    assert done.returncode == 1
    reason = "cannot migrate predict.py to run.py because run.py already exists"
    assert f"Deprecated predict interface names: {reason}\n" in done.stderr
    assert ((tmp_path / "predict.py").read_text(), (tmp_path / "run.py").read_text()) == (OLD, "mine")


def test_fix_on_a_disk_that_takes_nothing_says_so_and_leaves_the_file(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    project(folder, run=IMPORT + RUNNER)
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 0; exec {YARD} doctor --fix"],
        cwd=folder,
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Deprecated imports: File too large\n" in done.stderr
    assert (folder / "run.py").read_text() == IMPORT + RUNNER
    assert sorted(path.name for path in folder.iterdir()) == ["cog.yaml", "run.py"]


def test_fix_on_a_disk_that_takes_one_file_alone_writes_none(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    old_project(folder)
    yaml = "predict: predict.py:Predictor\n" + "# long\n" * 300
    (folder / "cog.yaml").write_text(yaml)
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 1; exec {YARD} doctor --fix"],
        cwd=folder,
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Deprecated predict interface names: File too large\n" in done.stderr
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"cog.yaml": yaml, "predict.py": OLD}


def test_without_fix_nothing_is_written(doctor: Doctor, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    old_project(folder)
    doctor(cwd=folder)
    assert sorted(path.name for path in folder.iterdir()) == ["cog.yaml", "predict.py"]
    assert (folder / "predict.py").read_text() == OLD


def test_another_file_and_a_folder_below_are_found(doctor: Doctor, tmp_path: Path) -> None:
    project(tmp_path)
    (tmp_path / "cog.yaml").rename(tmp_path / "other.yaml")
    assert doctor("-f", "other.yaml").stderr.endswith("no issues found\n")
    (tmp_path / "other.yaml").rename(tmp_path / "cog.yaml")
    (tmp_path / "below").mkdir()
    assert doctor(cwd=tmp_path / "below").stderr.endswith("no issues found\n")
    (tmp_path / "cog.yaml").rename(tmp_path / "other.yaml")
    assert doctor("-f", "other.yaml", cwd=tmp_path / "below").stderr.endswith("no issues found\n")
    unreadable = doctor("-f", "a" * 300)
    assert (unreadable.returncode, "aaa: File name too long\n" in unreadable.stderr) == (1, True)
    missing = doctor("-f", "nowhere.yaml")
    assert (missing.returncode, "  nowhere.yaml not found\n" in missing.stderr) == (1, True)


def test_json_goes_to_stdout_and_has_every_finding(doctor: Doctor, tmp_path: Path) -> None:
    project(tmp_path, run=IMPORT + RUNNER)
    done = doctor("--json")
    document = json.loads(done.stdout)
    assert (document["ok"], document["errors"], document["warnings"], document["fixed"]) == (False, 1, 0, 0)
    assert Path(document["file"]) == tmp_path / "cog.yaml"
    (check,) = [check for check in document["checks"] if check["findings"]]
    assert (check["name"], check["group"], check["state"]) == ("python-deprecated-imports", "Python", "error")
    (finding,) = check["findings"]
    assert (finding["file"], finding["line"], finding["fixed"]) == ("run.py", 1, False)
    fixed = json.loads(doctor("--json", "--fix").stdout)
    assert (fixed["ok"], fixed["fixed"]) == (True, 1)


def test_neither_a_missing_docker_nor_another_python_is_an_issue(yard: Run, tmp_path: Path) -> None:
    other = "3.10" if HERE != "3.10" else "3.11"
    project(tmp_path, cog_yaml=f'build:\n  python_version: "{other}"\nrun: "run.py:Runner"\n')
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "python3").symlink_to(sys.executable)
    done = yard("doctor", PATH=str(tools))
    assert done.returncode == 0
    assert "  note: Docker is not available: docker was not found on PATH\n" in done.stderr
    assert f"  note: local Python is {HERE} but cog.yaml specifies {other}\n" in done.stderr
    assert done.stderr.endswith("no issues found\n")


def test_a_missing_docker_is_an_error_where_the_project_needs_it(yard: Run, tmp_path: Path) -> None:
    project(tmp_path, cog_yaml='build:\n  system_packages: [ffmpeg]\nrun: "run.py:Runner"\n')
    done = yard("doctor", PATH=str(tmp_path))
    assert done.returncode == 1
    assert "  Docker is not available: docker was not found on PATH (needed for build.system_packages)\n" in done.stderr


def test_called_as_cog_it_speaks_of_cog(home: Path, tmp_path: Path) -> None:
    (tmp_path / "cog").symlink_to(YARD)
    done = subprocess.run(
        [str(tmp_path / "cog"), "doctor"],
        cwd=home,
        env={**environment(home), "COG_SKIP_DOCKER_CHECK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Running cog doctor...\n" in done.stderr
    assert 'Run "cog init" to create a cog.yaml' in done.stderr


def test_what_a_fix_renamed_is_said(doctor: Doctor, tmp_path: Path) -> None:
    old_project(tmp_path)
    done = doctor("--fix")
    assert done.returncode == 0
    assert "\n  predict.py is now run.py\n  Fixed: predict-to-run-migration " in done.stderr


def test_the_summary_promises_to_fix_only_what_can_be(doctor: Doctor, tmp_path: Path) -> None:
    old_project(tmp_path)
    (tmp_path / "run.py").write_text("# somebody else's\n")
    done = doctor()
    assert done.stderr.endswith("Found 2 warnings.\n"), "run.py is in the way"
    (tmp_path / "run.py").unlink()
    (tmp_path / "predict.py").write_text(OLD.replace(" -> str", ""))
    done = doctor()
    assert done.stderr.endswith('Found 3 warnings. Run "yard doctor --fix" to auto-fix. (It can mend 2 of these.)\n'), (
        "nobody but its author knows what predict() gives"
    )


def test_a_pip_conf_that_cannot_be_read_is_a_warning(yard: Run, tmp_path: Path) -> None:
    yard("init", "fresh")
    (tmp_path / "pip.conf").write_text("[global\n")
    done = yard("doctor", cwd=tmp_path / "fresh", PIP_CONFIG_FILE=str(tmp_path / "pip.conf"))
    assert done.returncode == 0
    assert f"⚠ pip's settings\n  pip's settings are passed over: {tmp_path}/pip.conf: line 1 cannot" in done.stderr
    assert "  Remediation: Correct the file" in done.stderr
