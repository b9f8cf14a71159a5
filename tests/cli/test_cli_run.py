"""`yard run` with real models in real workers: what goes where, and how it ends when something is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from yard_process import YARD, Run, environment

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def project(folder: Path, source: str, more: str = "") -> Path:
    """A project of one file that needs no packages."""
    folder.mkdir(exist_ok=True)
    (folder / "cog.yaml").write_text(f'build:\n  python_version: "{PYTHON}"\nrun: "run.py:Runner"\n{more}')
    imports = (
        "from typing import Iterator\nfrom cog import BaseRunner, ConcatenateIterator, Input, Path, current_scope\n"
    )
    (folder / "run.py").write_text(imports + source)
    return folder


def test_a_fresh_project_answers(yard: Run, tmp_path: Path) -> None:
    yard("init", "fresh")
    done = yard("run", "-i", "text=world", "-i", "times=2", cwd=tmp_path / "fresh")
    assert (done.returncode, done.stdout) == (0, "hello world hello world\n")
    assert "Running prediction..." in done.stderr


def test_predict_is_the_same_command_and_a_folder_above_is_found(yard: Run, tmp_path: Path) -> None:
    yard("init", "fresh")
    (tmp_path / "fresh" / "below").mkdir()
    done = yard("predict", cwd=tmp_path / "fresh" / "below")
    assert done.stdout == "hello world\n"
    assert done.stderr.startswith('warning: "cog predict" is deprecated, use "cog run"')
    assert "deprecated" not in yard("run", cwd=tmp_path / "fresh").stderr


def test_a_project_elsewhere_is_named_by_its_file(yard: Run, tmp_path: Path) -> None:
    yard("init", "fresh")
    assert yard("run", "-f", "fresh/cog.yaml").stdout == "hello world\n"
    assert yard("run", "-f", "fresh").stdout == "hello world\n"
    (tmp_path / "fresh" / "below").mkdir()
    (tmp_path / "fresh" / "cog.yaml").rename(tmp_path / "fresh" / "other.yaml")
    assert yard("run", "-f", "other.yaml", cwd=tmp_path / "fresh" / "below").stdout == "hello world\n"


def test_weights_are_named_by_a_variable_of_the_model(yard: Run, tmp_path: Path) -> None:
    source = """
class Runner(BaseRunner):
    def setup(self, weights: str = None) -> None:
        self.weights = weights
    def run(self) -> str:
        return f"from {self.weights}"
"""
    folder = project(tmp_path / "p", source, "environment:\n  - COG_WEIGHTS=a.bin\n")
    assert yard("run", cwd=folder).stdout == "from a.bin\n"
    assert yard("run", "-e", "COG_WEIGHTS=b.bin", cwd=folder).stdout == "from b.bin\n"


def test_several_predictions_at_once_need_an_async_model(yard: Run, tmp_path: Path) -> None:
    source = "class Runner(BaseRunner):\n    def run(self) -> str:\n        return ''\n"
    folder = project(tmp_path / "p", source, "concurrency:\n  max: 2\n")
    done = yard("run", cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert 'invalid concurrency.max "2": concurrency.max > 1 requires an async run() or predict() method' in done.stderr
    (folder / "run.py").write_text((folder / "run.py").read_text().replace("def run", "async def run"))
    assert yard("run", cwd=folder).returncode == 0


def test_a_schema_may_be_given_instead_of_the_one_that_is_read(yard: Run, tmp_path: Path) -> None:
    source = "class Runner(BaseRunner):\n    def run(self, n: int) -> str:\n        return str(n)\n"
    folder = project(tmp_path / "p", source)
    given = tmp_path / "schema.json"
    yard_with = {"COG_OPENAPI_SCHEMA": str(given)}
    for content, said in ((None, "No such file"), ("{", "it is no JSON"), ("[]", "no OpenAPI document with Input")):
        if content is not None:
            given.write_text(content)
        done = yard("run", cwd=folder, **yard_with)
        assert done.returncode == 1
        assert f"COG_OPENAPI_SCHEMA: failed to read {given}: {said}" in done.stderr
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 3}}, "required": ["n"]}
    given.write_text(json.dumps({"components": {"schemas": {"Input": schema, "Output": {"type": "string"}}}}))
    done = yard("run", "-i", "n=4", cwd=folder, **yard_with)
    assert (done.returncode, done.stdout) == (2, "")
    assert yard("run", "-i", "n=3", cwd=folder, **yard_with).stdout == "3\n"
    assert yard("run", "-i", "n=4", cwd=folder).stdout == "4\n"


def test_prints_go_to_stderr_and_the_result_to_stdout(yard: Run, tmp_path: Path) -> None:
    source = """
import os
class Runner(BaseRunner):
    def setup(self) -> None:
        print("setting up")
    def run(self) -> dict:
        print("working")
        os.system("echo native")
        current_scope().record_metric("words", 2)
        return {"a": [1, 2]}
"""
    done = yard("run", "--json", cwd=project(tmp_path / "p", source))
    found = json.loads(done.stdout)
    assert (found["status"], found["output"], found["metrics"]["words"]) == ("succeeded", {"a": [1, 2]}, 2)
    assert found["metrics"]["predict_time"] > 0
    lines = done.stderr.splitlines()
    assert lines.index("setting up") < lines.index("working") < lines.index("native")


def test_files_go_in_and_out(yard: Run, tmp_path: Path) -> None:
    source = """
class Runner(BaseRunner):
    def run(self, parts: list[Path] = Input()) -> Path:
        with open("joined.txt", "w") as file:
            file.write("".join(part.read_text() for part in parts))
        return Path("joined.txt")
"""
    folder = project(tmp_path / "p", source)
    (folder / "a.txt").write_text("one ")
    (folder / "b.txt").write_text("two")
    done = yard("run", "-i", "parts=@a.txt", "-i", "parts=@b.txt", "-o", "out.md", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "")
    assert "Written output to: out.md" in done.stderr
    assert (folder / "out.md").read_text() == "one two"
    assert (folder / "a.txt").read_text() == "one "


def test_an_iterator_of_files_is_numbered(yard: Run, tmp_path: Path) -> None:
    source = """
class Runner(BaseRunner):
    def run(self) -> Iterator[Path]:
        for name in ("a", "b"):
            with open(f"{name}.csv", "w") as file:
                file.write(name)
            yield Path(f"{name}.csv")
"""
    folder = project(tmp_path / "p", source)
    assert yard("run", cwd=folder).returncode == 0
    assert [(folder / f"output.{number}.csv").read_text() for number in (0, 1)] == ["a", "b"]


def test_the_pieces_of_a_text_are_a_list_for_a_program(yard: Run, tmp_path: Path) -> None:
    source = """
class Runner(BaseRunner):
    def run(self) -> ConcatenateIterator[str]:
        yield "a"
        yield "b"
"""
    done = yard("run", cwd=project(tmp_path / "p", source))
    assert json.loads(done.stdout) == ["a", "b"]


def test_variables_come_from_cog_yaml_and_the_command_line(yard: Run, tmp_path: Path) -> None:
    source = """
import os
class Runner(BaseRunner):
    def run(self) -> dict:
        names = ("ONE", "TWO", "MODELYARD_TOKEN", "REPLICATE_API_TOKEN")
        return {name: os.environ.get(name) for name in names}
"""
    folder = project(tmp_path / "p", source, "environment:\n  - ONE=file\n  - TWO=file\n")
    done = yard("run", "-e", "TWO=flag", cwd=folder, MODELYARD_TOKEN="secret", REPLICATE_API_TOKEN="secret")
    assert json.loads(done.stdout) == {
        "ONE": "file",
        "TWO": "flag",
        "MODELYARD_TOKEN": None,
        "REPLICATE_API_TOKEN": None,
    }


def test_the_token_of_replicate_reaches_a_model_only_when_it_is_asked_for(yard: Run, tmp_path: Path) -> None:
    source = """
class Runner(BaseRunner):
    def run(self) -> dict:
        return current_scope().context
"""
    folder = project(tmp_path / "p", source)
    given = yard("run", "--use-replicate-token", cwd=folder, REPLICATE_API_TOKEN="r8_mine")
    assert json.loads(given.stdout) == {"replicate_api_token": "r8_mine"}
    assert json.loads(yard("run", cwd=folder, REPLICATE_API_TOKEN="r8_mine").stdout) == {}
    lacking = yard("run", "--use-replicate-token", cwd=folder, REPLICATE_API_TOKEN="")
    assert lacking.returncode == 2
    assert lacking.stderr.startswith("error: Failed to find REPLICATE_API_TOKEN ")


@pytest.mark.parametrize(
    ("gpus", "seen"), [("all", None), ("2", "0,1"), ("device=1,3", "1,3"), ('"device=1,capabilities=compute"', "1")]
)
def test_a_model_sees_the_gpus_that_are_named(gpus: str, seen: str | None, yard: Run, tmp_path: Path) -> None:
    source = """
import os
class Runner(BaseRunner):
    def run(self) -> dict:
        return {"seen": os.environ.get("CUDA_VISIBLE_DEVICES")}
"""
    folder = project(tmp_path / "p", source)
    assert json.loads(yard("run", "--gpus", gpus, cwd=folder).stdout) == {"seen": seen}


def test_a_wrong_input_is_told_before_anything_starts(yard: Run, tmp_path: Path) -> None:
    source = """
print("loaded")
class Runner(BaseRunner):
    def run(self, n: int = Input(le=3)) -> int:
        return n
"""
    done = yard("run", "-i", "n=4", cwd=project(tmp_path / "p", source))
    assert done.returncode == 2
    assert done.stderr == 'error: invalid input "n": number must be at most 3\n'


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('no such thing')", 'Prediction failed with status "failed": ValueError: no such thing'),
        ("import sys; sys.exit(3)", 'Prediction failed with status "failed": '),
        ("import os; os._exit(7)", 'Prediction failed with status "failed": Worker crashed: exited with code 7'),
    ],
)
def test_a_model_that_fails_ends_with_1_and_its_reason(body: str, said: str, yard: Run, tmp_path: Path) -> None:
    source = f"\nclass Runner(BaseRunner):\n    def run(self) -> str:\n        {body}\n        return ''\n"
    done = yard("run", cwd=project(tmp_path / "p", source))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: {said}" in done.stderr


def test_a_model_that_fails_shows_where(yard: Run, tmp_path: Path) -> None:
    source = "\nclass Runner(BaseRunner):\n    def run(self) -> str:\n        return 1 // 0\n"
    done = yard("run", cwd=project(tmp_path / "p", source))
    assert "ZeroDivisionError" in done.stderr
    assert "return 1 // 0" in done.stderr


def test_a_setup_that_fails_shows_why(yard: Run, tmp_path: Path) -> None:
    source = "\nimport no_such_module\nclass Runner(BaseRunner):\n    def run(self) -> str:\n        return ''\n"
    done = yard("run", cwd=project(tmp_path / "p", source))
    assert done.returncode == 1
    assert "error: Model setup failed" in done.stderr
    assert "No module named 'no_such_module'" in done.stderr


def test_a_setup_that_takes_too_long_is_ended(yard: Run, tmp_path: Path) -> None:
    source = """
import time
class Runner(BaseRunner):
    def setup(self) -> None:
        time.sleep(60)
    def run(self) -> str:
        return ""
"""
    done = yard("run", "--setup-timeout", "1", cwd=project(tmp_path / "p", source))
    assert done.returncode == 1
    assert "worker setup timed out" in done.stderr
    done = yard("run", cwd=project(tmp_path / "p", source, "environment:\n  - COG_SETUP_TIMEOUT=1\n"))
    assert done.returncode == 1
    assert "worker setup timed out" in done.stderr


def test_a_run_that_takes_longer_than_its_model_allows_fails(yard: Run, tmp_path: Path) -> None:
    source = """
import time
class Runner(BaseRunner):
    def run(self, seconds: float = 0) -> Iterator[str]:
        yield "begun"
        try:
            time.sleep(seconds)
        finally:
            print("put away")
        yield "ended"
"""
    folder = project(tmp_path / "p", source, "environment:\n  - MODELYARD_RUN_TIMEOUT=1\n")
    done = yard("run", "-i", "seconds=30", "--json", cwd=folder)
    assert done.returncode == 1
    shown = json.loads(done.stdout)
    assert (shown["status"], shown["error"]) == ("failed", "Prediction timed out after 1 seconds.")
    assert shown["output"] == ["begun"]
    assert "put away" in done.stderr
    assert yard("run", "--json", cwd=folder).returncode == 0
    longer = yard("run", "-i", "seconds=1.5", "-e", "MODELYARD_RUN_TIMEOUT=0", cwd=folder)
    assert longer.returncode == 0
    wrong = yard("run", "-e", "MODELYARD_RUN_TIMEOUT=soon", cwd=folder)
    assert wrong.returncode == 2
    assert "error: --env MODELYARD_RUN_TIMEOUT is 'soon'; wanted: seconds" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run",), "error: cog.yaml not found in "),
        (("run", "--container"), "error: cog.yaml not found in "),
        (("run", "some-image", "-f", "cog.yaml"), "error: --file names a project, and some-image is an image"),
        (("run", "some-image", "--detach"), "error: --detach leaves a prediction of a yard running"),
        (("run", "yard/hello-world", "--container"), "error: --container is for a run on this machine; yard/hello"),
        (("run", "--use-replicate-token", "yard/hello-world"), "error: --use-replicate-token is for a run on this"),
        (("run", "yard/hello-world", "-e", "A=b"), "error: --env is for a run on this machine; yard/hello-world runs"),
        (("run", "--detach"), "error: --detach leaves a prediction of a yard running"),
        (("run", "text=x"), "error: Invalid image name 'text=x'. Did you forget `-i`?\nhint: yard run -i text=x"),
        (("run", "-e", "x"), "error: cog.yaml not found in "),
    ],
)
def test_a_call_that_cannot_work_says_why(arguments: tuple[str, ...], said: str, yard: Run) -> None:
    done = yard(*arguments)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith(said)


def test_an_output_that_cannot_be_written_is_told_first(yard: Run, tmp_path: Path) -> None:
    yard("init", "fresh")
    done = yard("run", "-o", "missing/x.txt", cwd=tmp_path / "fresh")
    assert done.returncode == 1
    assert done.stderr.startswith("error: Output path is not writable")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_takes_its_worker_with_it(number: signal.Signals, home: Path, tmp_path: Path) -> None:
    source = """
import os, time
class Runner(BaseRunner):
    def run(self) -> str:
        print("worker", os.getpid())
        time.sleep(60)
        return ""
"""
    folder = project(tmp_path / "p", source)
    # Short: the path of a socket is at most a hundred characters long, and the folders of a test may be longer.
    scratch = Path(tempfile.mkdtemp(prefix="y"))
    process = subprocess.Popen(
        [YARD, "run"], cwd=folder, env={**environment(home), "TMPDIR": str(scratch)}, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    worker = next(int(line.split()[1]) for line in process.stderr if line.startswith("worker "))
    process.send_signal(number)
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait(20) == 130
    assert "Traceback" not in rest
    assert is_gone(worker)
    assert list(scratch.iterdir()) == []
    scratch.rmdir()


def is_gone(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_a_package_that_is_missing_says_where_to_name_it(yard: Run, tmp_path: Path) -> None:
    source = "import nowhere.at_all\n\nclass Runner(BaseRunner):\n    def run(self) -> str:\n        return ''\n"
    folder = project(tmp_path / "lacking", source)
    unnamed = yard("run", cwd=folder)
    assert unnamed.returncode == 1
    assert "name that package in requirements.txt, and that file in cog.yaml" in unnamed.stderr
    (folder / "requirements.txt").write_text("nowhere\n")
    assert "cog.yaml does not name it: build.python_requirements" in yard("run", cwd=folder).stderr


@pytest.mark.parametrize("where", ["setup", "run"])
def test_a_variable_that_only_the_shell_has_is_named_with_the_way_to_give_it(
    yard: Run, tmp_path: Path, where: str
) -> None:
    source = 'class Runner(BaseRunner):\n    def setup(self) -> None:\n        self.key = "k"SETUP\n'
    source += "    def run(self) -> str:\n        return self.keyRUN\n"
    looks = ' + os.environ["SHELL_KEY"]'
    source = "import os\n" + source.replace("SETUP", looks if where == "setup" else "")
    folder = project(tmp_path / "p", source.replace("RUN", looks if where == "run" else ""))
    failed = yard("run", cwd=folder, SHELL_KEY="secret")
    assert failed.returncode == 1
    assert "hint: SHELL_KEY is set here and the model is not given it: -e SHELL_KEY gives it\n" in failed.stderr
    assert "hint: SHELL_KEY" not in yard("run", cwd=folder).stderr, "it is nowhere"
    given = yard("run", "-e", "SHELL_KEY", cwd=folder, SHELL_KEY="secret")
    assert given.stdout == "ksecret\n", given.stderr
