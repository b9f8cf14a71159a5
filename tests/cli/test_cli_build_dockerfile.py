"""`--dockerfile FILE`: somebody's own image, with the labels and the schema of the project."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import bases
import docker_images
import pytest
from docker_images import docker
from yard_process import Run, Server

from modelyard.cli import steps

# The first of these on a machine makes a Debian, which takes a minute or two.
pytestmark = pytest.mark.timeout(600)
NAME = f"modelyard-test/own-{os.getpid()}"
NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}


@pytest.fixture(scope="module")
def little() -> Iterator[str]:
    """An image of a shell and `cat`: whatever is in an image is taken over and packed, which takes its time."""
    bases.require_engine()
    libraries = "$(ldd /bin/sh /bin/cat | grep -o '/[^ :]* ' | sort -u)"
    copied = f"mkdir /little && cp -L --parents /bin/sh /bin/cat {libraries} /little"
    text = f"FROM {docker_images.base()} AS whole\nRUN {copied}\nFROM scratch\nCOPY --from=whole /little /\n"
    yield docker_images.build(text, {}, {}, f"{NAME}-base")
    docker("rmi", "-f", f"{NAME}-base")


@pytest.fixture
def project(tmp_path: Path, little: str) -> Iterator[Path]:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "run.py").write_text("def run(text: str) -> str:\n    return text\n")
    (folder / "cog.yaml").write_text('build: {python_version: "3.11"}\nrun: "run.py:run"\n')
    (folder / "Own").write_text(f"FROM {little}\n")
    write(folder, "RUN echo made > /made.txt", "COPY run.py /src/run.py", 'LABEL mine="yes"')
    yield folder
    subprocess.run(["docker", "rmi", "-f", NAME, *steps.names(folder)], capture_output=True, check=False)


def write(folder: Path, *lines: str) -> None:
    """Write the Dockerfile anew, but for what it begins with."""
    first = (folder / "Own").read_text().splitlines()[0]
    (folder / "Own").write_text("\n".join([first, *lines, 'ENTRYPOINT ["/bin/cat"]', 'CMD ["/made.txt"]', ""]))


def test_the_image_is_that_of_the_file_and_says_that_it_is_a_model(yard: Run, project: Path) -> None:
    done = yard("build", "-t", NAME, "--dockerfile", "Own", cwd=project)
    assert done.returncode == 0, done.stderr
    assert docker("run", "--rm", NAME) == "made"
    assert docker("run", "--rm", NAME, "/src/run.py").startswith("def run(")
    schema = json.loads(docker("run", "--rm", NAME, "/src/.cog/openapi_schema.json"))
    found = json.loads(docker("inspect", NAME, "--format", "{{json .Config.Labels}}"))
    assert found["mine"] == "yes"
    assert json.loads(found["run.cog.openapi_schema"]) == schema
    assert json.loads(found["run.cog.config"])["predict"] == "run.py:run"
    assert "org.modelyard.lock" not in found
    assert found["org.modelyard.version"] == found["run.cog.version"]


def test_a_push_makes_it_a_version(yard: Run, project: Path, server: Server) -> None:
    variables = {"MODELYARD_URL": server.url, "MODELYARD_TOKEN": server.token}
    done = yard("push", "yard/own", "--json", "--dockerfile", "Own", cwd=project, **variables)
    assert done.returncode == 0, done.stderr
    host = server.url.removeprefix("http://")
    image = f"{host}/yard/own@sha256:{json.loads(done.stdout)['version']}"
    try:
        docker("login", host, "--username", "yard", "--password", server.token)
        assert docker("run", "--rm", image) == "made"
    finally:
        docker("logout", host)
        subprocess.run(["docker", "rmi", "-f", image], capture_output=True, check=False)


def test_a_step_that_fails_is_told_with_the_end_of_its_words(yard: Run, project: Path) -> None:
    write(project, "RUN echo it broke; exit 7")
    done = yard("build", "-t", NAME, "--dockerfile", "Own", cwd=project)
    assert done.returncode == 1
    told = "error: --dockerfile Own: `RUN echo it broke; exit 7` failed (exit code 7)"
    assert done.stderr.endswith(f"\nit broke\n{told}; what it said is above\n")
    done = yard("build", "-t", NAME, "--dockerfile", "Own", "--progress", "quiet", cwd=project)
    assert done.stderr.endswith(f"{told}:\nit broke\n")


def test_without_its_secret_a_step_makes_nothing_of_what_it_made_with_it(yard: Run, project: Path) -> None:
    write(
        project,
        "RUN --mount=type=secret,id=token test -e /run/secrets/token && echo had > /made.txt || echo none > /made.txt",
    )
    for flags, made in ((("--secret", "id=token,env=T"), "had"), ((), "none")):
        done = yard("build", "-t", NAME, "--dockerfile", "Own", *flags, cwd=project, T="x")
        assert done.returncode == 0, done.stderr
        assert docker("run", "--rm", NAME) == made


def test_a_file_that_is_none_is_told(yard: Run, project: Path) -> None:
    done = yard("build", "--dockerfile", "Missing", cwd=project)
    assert done.returncode == 2
    assert "error: --dockerfile: Missing: No such file or directory" in done.stderr
    write(project, "NONSENSE here")
    done = yard("build", "--dockerfile", "Own", cwd=project)
    assert done.returncode == 1
    (told,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert told.endswith("unknown instruction: NONSENSE")
    assert done.stderr.endswith(f"{told}\n")
    assert "Traceback" not in done.stderr


def test_without_an_engine_it_is_said(yard: Run, project: Path) -> None:
    done = yard("build", "--dockerfile", "Own", cwd=project, **NO_ENGINE)
    assert done.returncode == 1
    assert "error: --dockerfile Own must be executed, which needs a Docker Engine, and there is none" in done.stderr
