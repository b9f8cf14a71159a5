"""`--container`: the folder's model in a container of the real Docker Engine, with the project mounted."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bases
import pytest
import weights_project
import yard_process
from docker_images import docker
from yard_process import Run

from modelyard.cli import docker as engines
from modelyard.cli import project_container

pytestmark = pytest.mark.timeout(400)
RUN = """
import os, sys
from cog import BaseRunner, Input, Path
from mine import WORD


class Runner(BaseRunner):
    def run(self, text: str, file: Path = Input(default=None)) -> str:
        print("running")
        with open("written.txt", "w") as out:
            out.write("by the model")
        said = [text, WORD, os.environ["MINE"], os.environ.get("YOURS"), sys.prefix, os.getcwd()]
        return " ".join(map(str, [*said, file and open(file).read()]))
"""
TRAIN = """
def train(n: int) -> str:
    with open("beside.txt", "w") as out:
        out.write("kept")
    return "w" * n
"""


@pytest.fixture(scope="module")
def base() -> Path:
    bases.require_engine()
    return bases.debian()


@pytest.fixture
def project(tmp_path: Path, base: Path) -> Iterator[Path]:
    folder = tmp_path / "a project, with a comma"
    (folder / "sub").mkdir(parents=True)
    (folder / "cog.yaml").write_text(
        f'build:\n  python_version: "{bases.python_of(base)}"\n'
        "run: run.py:Runner\ntrain: train.py:train\nenvironment: [MINE=yes]\n"
    )
    (folder / "run.py").write_text(RUN)
    (folder / "mine.py").write_text('WORD = "first"\n')
    (folder / "train.py").write_text(TRAIN)
    yield folder
    subprocess.run(["docker", "rmi", "-f", project_container.image_name(folder)], capture_output=True, check=False)


@pytest.fixture
def inside(yard: Run, base: Path, project: Path) -> Run:
    """`inside(verb, …)`: the verb with --container, in the project."""

    def run(verb: str, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        told = {"cwd": project, "MODELYARD_BASE_IMAGE": f"oci:{base}", **more}
        return yard(verb, "--container", *words, **told)

    return run


def left(project: Path) -> list[str]:
    """The containers of a project that are still there."""
    name = project_container.image_name(project)
    return docker("ps", "--all", "--quiet", "--filter", f"ancestor={name}").split()


def test_a_run_sees_the_project_as_it_is_and_writes_into_it(inside: Run, project: Path) -> None:
    (project / "in.txt").write_text("some bytes")
    done = inside("run", "-i", "text=hello", "-i", "file=@in.txt", "-e", "YOURS=too")
    assert (done.returncode, done.stdout) == (0, "hello first yes too /opt/model /src some bytes\n"), done.stderr
    said = ["Building Docker image from environment in cog.yaml...\n", "Starting Docker image", "running\n"]
    assert all(each in done.stderr for each in said)
    assert (project / "written.txt").read_text() == "by the model"
    before = docker("inspect", "--format", "{{.Id}}", project_container.image_name(project))
    (project / "mine.py").write_text('WORD = "second"\n')
    done = inside("run", "-i", "text=hello", "--json")
    assert json.loads(done.stdout)["output"] == "hello second yes None /opt/model /src None", done.stderr
    assert docker("inspect", "--format", "{{.Id}}", project_container.image_name(project)) == before
    assert left(project) == []


def test_another_environment_is_another_image_and_the_one_before_goes(inside: Run, project: Path) -> None:
    assert inside("exec", "true").returncode == 0
    before = docker("inspect", "--format", "{{.Id}}", project_container.image_name(project))
    text = (project / "cog.yaml").read_text().replace("build:\n", 'build:\n  python_packages: ["six==1.17.0"]\n')
    (project / "cog.yaml").write_text(text)
    done = inside("exec", "python", "-c", "import six; print(six.__version__)")
    assert done.stdout == "1.17.0\n", done.stderr
    assert before not in docker("images", "--all", "--no-trunc", "--quiet").split()


def test_flags_say_what_the_image_is_put_on_and_which_secrets_its_commands_see(
    yard: Run, base: Path, project: Path
) -> None:
    command = "cat /etc/token > /had.txt 2>/dev/null || echo none > /had.txt"
    build = {"python_version": bases.python_of(base)}
    build["run"] = [{"command": command, "mounts": [{"type": "secret", "id": "token", "target": "/etc/token"}]}]
    (project / "cog.yaml").write_text(json.dumps({"build": build, "run": "run.py:Runner"}))
    flags = ("exec", "--container", "--base-image", f"oci:{base}")
    for more, had in ((("--secret", "id=token,env=T"), "given"), ((), "none")):
        done = yard(*flags, *more, "cat", "/had.txt", cwd=project, T="given")
        assert (done.returncode, done.stdout.strip()) == (0, had), done.stderr


@pytest.mark.parametrize("flag", [("--base-image", "oci:base"), ("--secret", "id=token,env=T")])
def test_flags_of_a_projects_image_are_refused_for_an_image_and_do_nothing_without_a_container(
    yard: Run, project: Path, flag: tuple[str, str]
) -> None:
    done = yard("run", "docker:some/image", *flag, cwd=project)
    assert done.returncode == 2
    told = f"error: {flag[0]} is for the image that is made of a project, and some/image is one already"
    assert told in done.stderr
    done = yard("exec", *flag, "true", cwd=project)
    assert f"warning: {flag[0]} is for images; without --container it does nothing" in done.stderr


def test_inputs_are_refused_before_anything_is_built(inside: Run) -> None:
    done = inside("run", "-i", "nope=1")
    assert done.returncode == 2
    assert 'unknown input "nope"' in done.stderr
    assert "Building Docker image" not in done.stderr


def test_a_command_has_stdin_and_the_project_and_its_status_counts(inside: Run, project: Path) -> None:
    code = "import os, sys; print(os.getcwd(), os.environ['A'], os.environ['MINE'], sys.stdin.read(), sys.argv[1:])"
    done = inside("exec", "-e", "A=b", "python", "-c", code, "-e", "x", cwd=project / "sub", stdin="said")
    assert (done.returncode, done.stdout) == (0, "/src b yes said ['-e', 'x']\n"), done.stderr
    done = inside("exec", "sh", "-c", "echo made > sub/made.txt; exit 7")
    assert done.returncode == 1
    assert (project / "sub" / "made.txt").read_text() == "made\n"
    assert inside("exec", "no-such-program").returncode == 1
    assert left(project) == []


def test_the_variable_for_concurrency_comes_before_what_else_says_it(inside: Run, project: Path) -> None:
    text = (project / "cog.yaml").read_text().replace("MINE=yes", "COG_MAX_CONCURRENCY=3")
    (project / "cog.yaml").write_text(f"{text}concurrency:\n  max: 2\n")
    for flags, said in (((), "3\n"), (("-e", "COG_MAX_CONCURRENCY=4"), "4\n")):
        done = inside("exec", *flags, "printenv", "COG_MAX_CONCURRENCY")
        assert done.stdout == said, done.stderr


def test_stdin_that_nobody_reads_does_not_hold_a_command(base: Path, home: Path, project: Path) -> None:
    process = subprocess.Popen(
        [yard_process.YARD, "exec", "--container", "true"],
        cwd=project,
        env={**yard_process.environment(home), "MODELYARD_BASE_IMAGE": f"oci:{base}"},
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.wait(90) == 0
    process.stdin.close()


def test_a_port_of_a_command_is_published(base: Path, home: Path, project: Path) -> None:
    port = _free_port()
    process = subprocess.Popen(
        [yard_process.YARD, "exec", "--container", "-p", f"{port}:8000", "python", "-m", "http.server", "8000"],
        cwd=project,
        env={**yard_process.environment(home), "MODELYARD_BASE_IMAGE": f"oci:{base}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while not (found := _get(f"http://127.0.0.1:{port}/mine.py")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert found == b'WORD = "first"\n'
    finally:
        process.terminate()
        process.wait(60)
    assert left(project) == []


def test_a_training_runs_in_the_project(inside: Run, project: Path) -> None:
    done = inside("train", "-i", "n=3")
    assert done.returncode == 0, done.stderr
    assert "Running training...\n" in done.stderr
    assert ((project / "weights").read_text(), (project / "beside.txt").read_text()) == ("www", "kept")
    assert left(project) == []


@contextlib.contextmanager
def served(base: Path, home: Path, project: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """A server; its process, address, and what it said."""
    process = subprocess.Popen(
        [yard_process.YARD, "serve", "--container", "-p", "0", *flags],
        cwd=project,
        env={**yard_process.environment(home), "MODELYARD_BASE_IMAGE": f"oci:{base}"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        said = ""
        while "Ready." not in said and "Model setup failed" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        found = re.search(r"Serving at (\S+)", said)
        assert found, said
        yield process, found[1], said
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stderr.close()


def test_a_server_answers_and_ends_when_it_is_asked_to(base: Path, home: Path, project: Path) -> None:
    with served(base, home, project, "-e", "YOURS=too") as (process, url, said):
        assert "in Docker with the current directory mounted as a volume...\n" in said
        answer = _post(f"{url}/predictions", {"input": {"text": "hello"}})
        assert answer["output"] == "hello first yes too /opt/model /src None"
        assert _post(f"{url}/trainings", {"input": {"n": 2}})["output"] == "ww"
        assert len(left(project)) == 1
        _post(f"{url}/shutdown", {})
        assert process.wait(60) == 0
    assert left(project) == []


def test_a_server_that_is_terminated_takes_its_container_with_it(base: Path, home: Path, project: Path) -> None:
    with served(base, home, project) as (process, _, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert left(project) == []


def test_a_server_whose_model_fails_goes_on_and_says_so(base: Path, home: Path, project: Path) -> None:
    (project / "mine.py").write_text("raise ValueError('not today')\n")
    with served(base, home, project) as (_, url, said):
        assert "ValueError: not today" in said
        assert json.loads(_get(f"{url}/health-check"))["status"] == "SETUP_FAILED"


def test_weights_are_seen_at_their_targets_and_nothing_is_left(
    inside: Run, base: Path, project: Path, tmp_path: Path
) -> None:
    weights = weights_project.BASE
    elsewhere = weights_project.Weight(name="more", target="/weights/more", files={"c.txt": b"all of c"})
    weights_project.keep(tmp_path / "store", weights, elsewhere)
    weights_project.write(project, weights, elsewhere)
    text = (project / "cog.yaml").read_text()
    (project / "cog.yaml").write_text(f'build:\n  python_version: "{bases.python_of(base)}"\n{text}')
    known = {"COG_CACHE_DIR": str(tmp_path / "store")}
    done = inside("run", **known)
    assert (done.returncode, done.stdout) == (0, "['a.txt', 'sub'] all of a\n"), done.stderr
    shell = "cat weights/base/sub/b.txt /weights/more/c.txt; echo x > /weights/more/c.txt"
    done = inside("exec", "sh", "-c", shell, **known)
    assert done.stdout == "all of ball of c"
    assert "Read-only file system" in done.stderr
    assert not (project / "weights").exists()
    assert list((project / ".cog" / "mounts").iterdir()) == []
    (tmp_path / "store" / "weights").rename(tmp_path / "away")
    missing = inside("run", **known)
    assert missing.returncode == 1
    assert "run 'yard weights pull' first" in missing.stderr
    assert "Building Docker image" not in missing.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("serve", "--reload"), "error: --reload and --container cannot be given together"),
        (("serve", "--local-paths"), "error: --local-paths and --container cannot be given together"),
        (("exec", "-p", "0", "true"), 'error: invalid port "0"'),
    ],
)
def test_what_does_not_go_with_a_container_is_told(words: tuple[str, ...], said: str, inside: Run) -> None:
    done = inside(*words)
    assert done.returncode == 2
    assert said in done.stderr


def test_an_engine_elsewhere_is_refused_as_it_sees_no_folder_of_this_machine(inside: Run) -> None:
    done = inside("exec", "true", DOCKER_HOST="tcp://engine.example.org:2376")
    assert done.returncode == 1
    assert "--container needs a Docker Engine" in done.stderr


def test_where_the_engine_is_stands_in_the_variable_or_in_dockers_context(tmp_path: Path) -> None:
    bases.require_engine()
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    assert engines.address(environ) == ""
    for words in (["create", "far", "--docker", "host=tcp://engine.example.org:1"], ["use", "far"]):
        subprocess.run(["docker", "context", *words], env=environ, capture_output=True, check=True)
    assert engines.address(environ) == "tcp://engine.example.org:1"
    assert engines.address({**environ, "DOCKER_HOST": "unix:///here"}) == "unix:///here"


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _get(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return bytes(reply.read())
    except (ConnectionError, urllib.error.URLError, TimeoutError):
        return b""


def _post(url: str, body: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.loads(reply.read() or b"{}")
