"""`yard build` with a Docker Engine: it takes what it lacks of the image, which serves Cog's HTTP API."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bases
import pytest
from yard_process import Run, Server

from modelyard.cli import docker_build

# The first of these on a machine makes a Debian, which takes a minute or two.
pytestmark = pytest.mark.timeout(600)
# Several processes may run these tests with one engine.
NAME = f"modelyard-test/built-{os.getpid()}"
RUN = """
import os
import sys
import time
from cog import BaseRunner, Input, Path

class Runner(BaseRunner):
    def setup(self) -> None:
        import six
        self.six = six.__version__

    def run(self, text: str, image: Path = Input(default=None)) -> str:
        print("running")
        return f"{text} {self.six} {os.environ['MINE']} {sys.prefix} {os.getcwd()}"
"""


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


@pytest.fixture
def project(tmp_path: Path, base: Path) -> Iterator[Path]:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "cog.yaml").write_text(
        f'build:\n  python_version: "{bases.python_of(base)}"\n  python_packages: ["six==1.17.0"]\n'
        'run: "run.py:Runner"\nenvironment: ["MINE=yes"]\n'
    )
    (folder / "run.py").write_text(RUN)
    yield folder
    for name in (NAME, f"{NAME}:2"):
        subprocess.run(["docker", "rmi", "-f", name], capture_output=True, check=False)


@contextlib.contextmanager
def container(image: str, *flags: str) -> Iterator[str]:
    """A container that serves; its address once setup is done."""
    name = docker("run", "-d", "--rm", "-p", "127.0.0.1::5000", *flags, image)
    try:
        port = docker("port", name, "5000/tcp").splitlines()[0].rpartition(":")[2]
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while ask(url, "/health-check").get("status") != "READY":
            assert time.monotonic() < deadline, docker("logs", name)
            time.sleep(0.1)
        yield url
    finally:
        subprocess.run(["docker", "rm", "-f", name], capture_output=True, check=False)


def ask(url: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)
    except (ConnectionError, urllib.error.URLError, TimeoutError):
        return {}


def test_the_image_alone_serves_the_model(yard: Run, project: Path, base: Path) -> None:
    done = yard("build", "-t", NAME, "--base-image", f"oci:{base}", cwd=project)
    assert done.returncode == 0, done.stderr
    assert f"as {NAME}...\n" in done.stderr
    assert done.stderr.endswith(f"Image built as {NAME}\n")
    with container(NAME) as url:
        answer = ask(url, "/predictions", {"input": {"text": "hello"}})
        assert (answer["status"], answer["output"]) == ("succeeded", "hello 1.17.0 yes /opt/model /src")
        assert "running" in answer["logs"]
        assert ask(url, "/openapi.json")["components"]["schemas"]["Input"]["required"] == ["text", "image"]


def test_nobody_but_the_owner_of_files_need_run_it(yard: Run, project: Path, base: Path) -> None:
    assert yard("build", "-t", NAME, "--base-image", f"oci:{base}", cwd=project).returncode == 0
    flags = ("--user", "12345:12345", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL")
    with container(NAME, *flags) as url:
        assert ask(url, "/predictions", {"input": {"text": "hello"}})["status"] == "succeeded"


def test_the_engine_shows_it_as_any_other_image(yard: Run, project: Path, base: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", "x"], cwd=project, check=True)
    subprocess.run(["git", "tag", "v7"], cwd=project, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, check=True).stdout
    assert yard("build", "-t", NAME, "--base-image", f"oci:{base}", cwd=project).returncode == 0
    assert NAME in docker("images", "--format", "{{.Repository}}").splitlines()

    def label(key: str) -> str:
        return docker("inspect", NAME, "--format", f'{{{{index .Config.Labels "{key}"}}}}')

    freeze = label("run.cog.pip_freeze").splitlines()
    assert freeze[0] == "six==1.17.0"
    # What is not in the image is not said to be, but what is in its place.
    assert re.fullmatch(r"# modelyard-sdk==\S+ and modelyard-runner==\S+ are in the place of cog, coglet .*", freeze[1])
    assert label("run.cog.has_init") == "true"
    assert json.loads(label("run.cog.config"))["build"]["python_packages"] == ["six==1.17.0"]
    assert json.loads(label("run.cog.openapi_schema"))["openapi"] == "3.0.2"
    assert label("org.opencontainers.image.revision") == head.strip()
    assert label("org.opencontainers.image.version") == "v7"
    assert docker("inspect", NAME, "--format", "{{.Config.WorkingDir}} {{json .Config.ExposedPorts}}") == (
        '/src {"5000/tcp":{}}'
    )
    assert docker("history", NAME, "--format", "{{.CreatedBy}}").splitlines()[0] == "modelyard: source"


@pytest.mark.parametrize("place", ["r8.im/modelyard-test/built", "modelyard-test/plain"])
def test_weights_apart_from_a_project_without_any_and_then_docker_forgets_it(
    place: str, yard: Run, project: Path, base: Path
) -> None:
    name = f"{place}-{os.getpid()}"
    flags = ("--separate-weights", "--use-cog-base-image=false")
    done = yard("build", "-t", name, *flags, cwd=project, MODELYARD_BASE_IMAGE=f"oci:{base}")
    assert done.returncode == 0, done.stderr
    assert docker("run", "--rm", name, "python", "-c", "import six; print(six.__version__)") == "1.17.0"
    docker("rmi", name)
    assert name not in docker("images", "--format", "{{.Repository}}").splitlines()


def test_the_engine_is_sent_what_it_lacks(yard: Run, project: Path, base: Path) -> None:
    def build(name: str = NAME) -> str:
        done = yard("build", "-t", name, "--base-image", f"oci:{base}", cwd=project)
        assert done.returncode == 0, done.stderr
        return next(line for line in done.stderr.splitlines() if line.startswith("Loaded"))

    build()
    assert "0 of 5 layers were new to it" in build()
    (project / "run.py").write_text(RUN + "# other\n")
    assert "1 of 5 layers were new to it" in build(f"{NAME}:2")
    assert "# other" in docker("run", "--rm", f"{NAME}:2", "cat", "/src/run.py")
    assert "# other" not in docker("run", "--rm", NAME, "cat", "/src/run.py")


def test_the_archive_is_one_that_the_engine_loads(yard: Run, project: Path, base: Path) -> None:
    assert yard("build", "-t", NAME, "-o", "m.tar", "--base-image", f"oci:{base}", cwd=project).returncode == 0
    assert f"Loaded image: {NAME}:latest" in docker("load", "--input", str(project / "m.tar"))
    assert docker("run", "--rm", NAME, "python", "-c", "import cog, six; print(six.__version__)") == "1.17.0"


def test_an_image_that_cannot_be_had_is_told_with_the_last_reason_alone(base: Path) -> None:
    order = docker_build.Order(text="FROM localhost:1/none\nRUN true\n", name=NAME)
    with pytest.raises(docker_build.EngineError, match=r"^docker build: .*localhost:1") as caught:
        docker_build.build(order, os.environ, docker_build.hidden)
    assert "\n" not in caught.value.detail


def test_packages_of_the_system_are_installed_by_the_engine_once(yard: Run, project: Path, base: Path) -> None:
    text = (project / "cog.yaml").read_text()
    (project / "cog.yaml").write_text(text.replace("build:\n", "build:\n  system_packages: [hello]\n"))
    flags = ("-t", NAME, "--base-image", f"oci:{base}")
    done = yard("build", *flags, cwd=project)
    assert done.returncode == 0, done.stderr
    assert "Installing hello with the Docker Engine\n" in done.stderr
    # Nobody counts, and nobody complains that it cannot ask.
    assert not re.search("%|\r|debconf|Reading database [.]{3} *$", done.stderr)
    assert docker("run", "--rm", NAME, "hello") == "Hello, world!"
    labels = docker("inspect", NAME, "--format", '{{index .Config.Labels "org.modelyard.layers"}}')
    assert labels == "base system server box environment source"
    # What was made is kept, so that the next build needs no engine for it.
    done = yard("build", "-o", "out", *flags, cwd=project, DOCKER_HOST="unix:///nowhere/docker.sock")
    assert done.returncode == 0, done.stderr
    assert "Installing" not in done.stderr


def test_a_package_that_is_not_there_is_told_in_the_words_of_apt(yard: Run, project: Path, base: Path) -> None:
    text = (project / "cog.yaml").read_text()
    (project / "cog.yaml").write_text(text.replace("build:\n", "build:\n  system_packages: [no-such-thing]\n"))
    done = yard("build", "-t", NAME, "--base-image", f"oci:{base}", cwd=project)
    assert done.returncode == 1
    assert "E: Unable to locate package no-such-thing" in done.stderr
    assert "Traceback" not in done.stderr


# A version on a base


def test_a_pushed_version_runs_in_the_yard_and_as_a_container(
    yard: Run, server: Server, project: Path, base: Path
) -> None:
    variables = {
        "MODELYARD_URL": server.url,
        "MODELYARD_TOKEN": server.token,
        "MODELYARD_BASE_IMAGE": f"oci:{base}",
    }
    pushed = [yard("push", f"yard/{name}", "--json", cwd=project, **variables) for name in ("stands", "beside")]
    assert [done.returncode for done in pushed] == [0, 0], pushed[0].stderr
    told = [json.loads(done.stdout) for done in pushed]
    assert told[0]["version"] == told[1]["version"]
    # The second model takes over what the first one has.
    assert told[0]["sent_bytes"] > 20_000_000 > 200_000 > told[1]["sent_bytes"]
    done = yard("run", "yard/beside", "-i", "text=hello", cwd=project, **variables)
    assert done.stdout.startswith("hello 1.17.0 yes "), done.stderr
    host = server.url.removeprefix("http://")
    try:
        docker("login", host, "--username", "yard", "--password", server.token)
        with container(f"{host}/yard/stands@sha256:{told[0]['version']}") as url:
            assert ask(url, "/predictions", {"input": {"text": "hi"}})["output"].startswith("hi 1.17.0 yes /opt/model")
    finally:
        docker("logout", host)
        image = f"{host}/yard/stands@sha256:{told[0]['version']}"
        subprocess.run(["docker", "rmi", "-f", image], capture_output=True, check=False)


def test_an_image_that_docker_pushed_runs_in_the_yard_too(yard: Run, server: Server, project: Path, base: Path) -> None:
    """Docker packs the layers anew and leaves out what says which is which; the labels still do."""
    host = server.url.removeprefix("http://")
    name = f"{host}/yard/by-docker"
    assert yard("build", "-t", name, "--base-image", f"oci:{base}", cwd=project).returncode == 0
    try:
        docker("login", host, "--username", "yard", "--password", server.token)
        docker("push", name)
        variables = {"MODELYARD_URL": server.url, "MODELYARD_TOKEN": server.token}
        done = yard("run", "yard/by-docker", "-i", "text=hello", cwd=project, **variables)
        assert done.stdout.startswith("hello 1.17.0 yes "), done.stderr
    finally:
        docker("logout", host)
        subprocess.run(["docker", "rmi", "-f", name], capture_output=True, check=False)


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo copies the layout: apt-get install skopeo")
def test_a_layout_is_one_that_skopeo_sends_to_the_yard(yard: Run, server: Server, project: Path, base: Path) -> None:
    assert yard("build", "-t", "m", "-o", "out", "--base-image", f"oci:{base}", cwd=project).returncode == 0
    to = f"docker://{server.url.removeprefix('http://')}/yard/by-skopeo:latest"
    login = ["--dest-tls-verify=false", "--dest-creds", f"yard:{server.token}"]
    done = subprocess.run(
        ["skopeo", "copy", *login, "oci:out:m:latest", to], cwd=project, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    variables = {"MODELYARD_URL": server.url, "MODELYARD_TOKEN": server.token}
    done = yard("run", "yard/by-skopeo", "-i", "text=hello", cwd=project, **variables)
    assert done.stdout.startswith("hello 1.17.0 yes "), done.stderr
