"""`build.run` with a Docker Engine: on the model's packages, with secrets, once; and what is said where it fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import bases
import pytest
from yard_process import Run, Server

from modelyard.cli import steps

# The first of these on a machine makes a Debian, which takes a minute or two.
pytestmark = pytest.mark.timeout(600)
# Several processes may run these tests with one engine.
NAME = f"modelyard-test/steps-{os.getpid()}"
NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
RUN = "def run(text: str) -> str:\n    return text\n"


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all of these: what their images have in common is made once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def base() -> Path:
    """A Debian with a Python."""
    bases.require_engine()
    return bases.debian()


class Project:
    """A folder with a cog.yaml that can be written anew."""

    def __init__(self, folder: Path, base: Path, yard: Run) -> None:
        self.folder, self.base, self._yard = folder, base, yard
        folder.mkdir()
        (folder / "run.py").write_text(RUN)

    def write(self, *commands: object, packages: str = "six==1.17.0") -> None:
        build = {"python_version": bases.python_of(self.base), "python_packages": [packages], "run": list(commands)}
        (self.folder / "cog.yaml").write_text(json.dumps({"build": build, "run": "run.py:run"}))

    def build(self, *flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
        flags = ("-t", NAME, "--base-image", f"oci:{self.base}", *flags)
        return self._yard("build", *flags, cwd=self.folder, **variables)


@pytest.fixture
def project(tmp_path: Path, base: Path, yard: Run) -> Iterator[Project]:
    made = Project(tmp_path / "project", base, yard)
    yield made
    names = (NAME, *steps.names(made.folder))
    subprocess.run(["docker", "rmi", "-f", *names], capture_output=True, check=False)


def test_commands_find_the_packages_of_the_model_and_leave_what_they_make(project: Project) -> None:
    asks = 'python -c "import six, cog; print(six.__version__)"'
    project.write(f"{asks} > /version.txt", "pwd > /where.txt; id -u >> /where.txt")
    done = project.build()
    assert done.returncode == 0, done.stderr
    assert "Running 2 commands of build.run with the Docker Engine\n" in done.stderr
    assert docker("run", "--rm", NAME, "cat", "/version.txt", "/where.txt").split() == ["1.17.0", "/", "0"]
    kinds = docker("inspect", NAME, "--format", '{{index .Config.Labels "org.modelyard.layers"}}')
    assert kinds == "base server box environment run run source"


def test_commands_run_once_and_then_no_engine_is_needed(project: Project) -> None:
    project.write("date +%N > /now.txt")
    assert project.build().returncode == 0
    before = docker("run", "--rm", NAME, "cat", "/now.txt")
    (project.folder / "run.py").write_text(RUN + "# changed\n")
    done = project.build()
    assert "Running" not in done.stderr
    assert docker("run", "--rm", NAME, "cat", "/now.txt") == before
    assert docker("run", "--rm", NAME, "tail", "-1", "/src/run.py") == "# changed"
    done = project.build("-o", "out", **NO_ENGINE)
    assert done.returncode == 0, done.stderr
    assert project.build("--no-cache").returncode == 0
    assert docker("run", "--rm", NAME, "cat", "/now.txt") != before


def test_images_that_lose_their_names_to_the_next_ones_go_unless_they_have_another(project: Project) -> None:
    def ids() -> list[str]:
        return [docker("inspect", "--format", "{{.Id}}", name) for name in steps.names(project.folder)]

    def build(number: int) -> None:
        project.write("echo made > /mine.txt")
        text = json.loads((project.folder / "cog.yaml").read_text())
        # No other test has these images.
        text["environment"] = [f"MINE={number}-{time.time_ns()}"]
        (project.folder / "cog.yaml").write_text(json.dumps(text))
        done = project.build()
        assert done.returncode == 0, done.stderr

    build(1)
    first = ids()
    build(2)
    second = ids()
    docker("tag", second[0], f"{NAME}:kept")
    build(3)
    there = docker("images", "--all", "--quiet", "--no-trunc").split()
    docker("rmi", f"{NAME}:kept")
    assert not {*first, second[1]} & set(there)
    assert {second[0], *ids()} <= set(there)


def test_a_variable_of_cog_yaml_is_there(project: Project) -> None:
    project.write("echo $MINE > /mine.txt")
    text = json.loads((project.folder / "cog.yaml").read_text())
    (project.folder / "cog.yaml").write_text(json.dumps({**text, "environment": ["MINE=two words"]}))
    assert project.build().returncode == 0
    assert docker("run", "--rm", NAME, "cat", "/mine.txt") == "two words"


def test_pip_installs_for_the_model(project: Project) -> None:
    project.write("pip install --quiet --no-input idna==3.10")
    done = project.build()
    assert done.returncode == 0, done.stderr
    assert docker("run", "--rm", NAME, "python", "-c", "import idna; print(idna.__version__)") == "3.10"


# Secrets


def secret(command: str) -> dict[str, object]:
    return {"command": command, "mounts": [{"type": "secret", "id": "token", "target": "/etc/token"}]}


def test_a_secret_is_seen_by_its_command_and_is_in_no_layer(project: Project) -> None:
    project.write(secret("sha256sum < /etc/token > /sum.txt"), "test ! -s /etc/token")
    (project.folder / ".dockerignore").write_text("token.txt\n")
    (project.folder / "token.txt").write_text("s3cret")
    done = project.build("--secret", "id=token,src=token.txt")
    assert done.returncode == 0, done.stderr
    first = docker("run", "--rm", NAME, "cat", "/sum.txt")
    assert docker("run", "--rm", NAME, "sh", "-c", "cat /etc/token; grep -r s3cret /etc /src /run; echo none") == "none"
    assert "s3cret" not in docker("inspect", NAME) + docker("history", "--no-trunc", NAME) + done.stderr
    # Its bytes are an input, wherever they come from.
    assert "Running" not in project.build("--secret", "id=token,env=OTHER", OTHER="s3cret").stderr
    done = project.build("--secret", "id=token,env=OTHER", OTHER="another")
    assert "Running 2 commands" in done.stderr
    assert docker("run", "--rm", NAME, "cat", "/sum.txt") != first


def test_a_secret_that_is_not_given_is_named(project: Project) -> None:
    project.write(secret("test ! -e /etc/token"))
    done = project.build()
    assert "warning: build.run wants the secret 'token', and no --secret id=token,src=FILE gives it" in done.stderr
    assert done.returncode == 0, done.stderr


def test_without_its_secret_a_command_makes_nothing_of_what_it_made_with_it(project: Project) -> None:
    project.write(secret("test -e /etc/token && echo had > /had.txt || echo none > /had.txt"))
    for flags, made in ((("--secret", "id=token,env=T"), "had"), ((), "none"), (("--secret", "id=token,env=T"), "had")):
        done = project.build(*flags, T="x")
        assert done.returncode == 0, done.stderr
        assert docker("run", "--rm", NAME, "cat", "/had.txt") == made
    # Each is kept for itself.
    assert "Running" not in done.stderr
    assert "Running" not in project.build().stderr


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("id=token,src=missing.txt", "missing.txt: No such file or directory"),
        ("id=token,env=NOWHERE", "error: --secret id=token: the variable NOWHERE is not set"),
    ],
)
def test_a_secret_that_is_not_there_is_told(project: Project, flag: str, said: str) -> None:
    project.write(secret("true"))
    done = project.build("--secret", flag)
    assert done.returncode == 2
    assert said in done.stderr


# What fails


def test_a_command_that_fails_is_told_with_the_end_of_its_words(project: Project) -> None:
    project.write("true", "seq 100; echo 'it broke'; exit 7")
    done = project.build()
    assert done.returncode == 1
    failed = "error: cog.yaml: build.run: `seq 100; echo 'it broke'; exit 7` failed (exit code 7)"
    # What was shown is not said again.
    assert done.stderr.endswith(f"\n100\nit broke\n{failed}; what it said is above\n")
    assert done.stderr.count("it broke\n") == 1
    done = project.build("--progress", "quiet")
    told = done.stderr[done.stderr.index("error:") :].splitlines()
    assert told[0] == f"{failed}:"
    assert told[1:][-2:] == ["100", "it broke"]
    assert len(told) < 20
    assert "Traceback" not in done.stderr


def test_what_commands_print_is_shown_unless_nobody_wants_it(project: Project) -> None:
    # An engine that knows the command would not run it.
    project.write(f"echo the words of a command; : {time.time_ns()}")
    assert "the words of a command\n" in project.build().stderr
    assert "the words" not in project.build("--no-cache", "--progress", "quiet").stderr
    assert "the words" not in project.build("--no-cache", BUILDKIT_PROGRESS="quiet").stderr


def test_without_an_engine_the_key_is_named(project: Project) -> None:
    # Nobody else has the package, so that it would have to be installed.
    project.write("echo hello", packages="idna==3.10")
    done = project.build(**NO_ENGINE)
    assert done.returncode == 1
    told = "error: cog.yaml: build.run (echo hello) must be executed in the image, which needs a Docker Engine"
    assert told in done.stderr
    # Nothing was made in vain.
    assert "Resolving" not in done.stderr
    assert "Installing" not in done.stderr


@pytest.fixture
def without_buildkit(tmp_path: Path) -> dict[str, str]:
    """A `docker` that needs a plugin to use BuildKit, and has none."""
    real = shutil.which("docker")
    cases = 'buildx) exit 1;;\n--version) echo "Docker version 28.0.0";;'
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "docker").write_text(f'#!/bin/sh\ncase "$1" in\n{cases}\n*) exec {real} "$@";;\nesac\n')
    (folder / "docker").chmod(0o755)
    (folder / "python3").symlink_to(os.path.realpath(sys.executable))
    return {"PATH": str(folder)}


def test_without_buildkit_commands_run_too(project: Project, without_buildkit: dict[str, str]) -> None:
    project.write("echo hello > /hello.txt")
    done = project.build(**without_buildkit)
    assert done.returncode == 0, done.stderr
    assert docker("run", "--rm", NAME, "cat", "/hello.txt") == "hello"
    project.write("echo 'it broke'; exit 7")
    done = project.build(**without_buildkit)
    assert "`echo 'it broke'; exit 7` failed (exit code 7); what it said is above\n" in done.stderr
    assert done.stderr.count("it broke\n") == 1
    below = f"ancestor={steps.names(project.folder)[0]}"
    assert docker("ps", "--all", "--quiet", "--filter", below) == ""


def test_without_buildkit_a_secret_is_refused(project: Project, without_buildkit: dict[str, str]) -> None:
    project.write(secret("true"))
    for flags in (("--secret", "id=token,env=T"), ()):
        done = project.build(*flags, T="x", **without_buildkit)
        assert done.returncode == 1
        assert "error: what is mounted for a step, as secrets are, needs BuildKit, which " in done.stderr
    assert "hint: install it: apt-get install docker-buildx-plugin" in done.stderr


# Bytecode


def test_bytecode_is_made_where_it_is_wanted(project: Project) -> None:
    project.write()
    assert project.build("--precompile").returncode == 0
    folders = "/opt/model/lib/python3*/site-packages/__pycache__ /opt/modelyard/box/cog/__pycache__"
    found = docker("run", "--rm", NAME, "sh", "-c", f"ls {folders}")
    assert "six" in found
    assert "__init__" in found


# A version


def test_a_pushed_version_is_the_image_with_its_steps_and_runs_in_the_yard_too(
    project: Project, yard: Run, server: Server
) -> None:
    project.write("echo made > /made.txt")
    variables = {"MODELYARD_URL": server.url, "MODELYARD_TOKEN": server.token}
    variables["MODELYARD_BASE_IMAGE"] = f"oci:{project.base}"
    done = yard("push", "yard/with-steps", "--json", cwd=project.folder, **variables)
    assert done.returncode == 0, done.stderr
    version = json.loads(done.stdout)["version"]
    host = server.url.removeprefix("http://")
    image = f"{host}/yard/with-steps@sha256:{version}"
    try:
        docker("login", host, "--username", "yard", "--password", server.token)
        assert docker("run", "--rm", image, "cat", "/made.txt") == "made"
    finally:
        docker("logout", host)
        subprocess.run(["docker", "rmi", "-f", image], capture_output=True, check=False)
    done = yard("run", "yard/with-steps", "-i", "text=hello", cwd=project.folder, **variables)
    assert done.stdout == "hello\n", done.stderr


def test_a_push_to_a_base_names_the_key_where_there_is_no_engine(project: Project, yard: Run, server: Server) -> None:
    # Nobody else has the command, so that it would have to be executed.
    project.write("echo none > /none.txt")
    variables = {"MODELYARD_URL": server.url, "MODELYARD_TOKEN": server.token, **NO_ENGINE}
    done = yard("push", "yard/no-engine", "--base-image", f"oci:{project.base}", cwd=project.folder, **variables)
    assert done.returncode == 1
    assert "build.run (echo none > /none.txt) must be executed in the image" in done.stderr
