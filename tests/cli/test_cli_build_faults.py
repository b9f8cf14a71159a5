"""`yard build` and `yard push` of what cannot become an image: the reason is said, and nothing half is left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import bases
import pytest
import small_disks
import yard_process
from weights_servers import serving
from yard_process import Run, Server

from modelyard.oci.layout import Layout

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A yard whose store is whole after all of these."""
    folder = tmp_path_factory.mktemp("yard")
    with yard_process.up(folder) as running:
        yield running
        told = {"MODELYARD_URL": running.url, "MODELYARD_TOKEN": running.token}
        done = yard_process.run("doctor", "--store", "--deep", home=folder, cwd=folder, **told)
        assert "no issues found" in done.stderr


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return bases.small(tmp_path / "base")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "run.py").write_text("def run(text: str) -> str:\n    return text\n")
    write(folder)
    return folder


def write(folder: Path, *packages: str) -> None:
    text = f'build:\n  python_version: "{bases.OWN}"\n  python_packages: {json.dumps(packages)}\n'
    (folder / "cog.yaml").write_text(text + 'run: "run.py:run"\n')


def no_solution(project: Path) -> list[str]:
    write(project, "requests==2.32.3", "urllib3==1.10")
    return ["requests==2.32.3", "urllib3==1.10", "urllib3>="]


def no_such_version(project: Path) -> list[str]:
    write(project, "six==99.99.99")
    return ["there is no version of six==99.99.99"]


def no_such_package(project: Path) -> list[str]:
    write(project, "modelyard-has-no-such-package==1.0")
    return ["modelyard-has-no-such-package", "not found"]


def no_requirement(project: Path) -> list[str]:
    write(project, "six 1.17 please")
    return ["six 1.17 please"]


def ignored_model(project: Path) -> list[str]:
    (project / ".dockerignore").write_text("*\n!cog.yaml\n")
    return ["run.py", ".dockerignore", "!run.py"]


def pipe(project: Path) -> list[str]:
    os.mkfifo(project / "queue")
    return ["queue", "neither a file, a folder nor a link"]


def no_python(project: Path) -> list[str]:
    (project / "run.py").write_text("def run(text: str) -> str:\n    return text +\n")
    return ["run.py:2"]


FAULTS: list[Callable[[Path], list[str]]] = [
    no_solution,
    no_such_version,
    no_such_package,
    no_requirement,
    ignored_model,
    pipe,
    no_python,
]


def versions(server: Server, name: str) -> int:
    request = urllib.request.Request(
        f"{server.url.rstrip('/')}/v1/models/yard/{name}", headers={"Authorization": f"Bearer {server.token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_what_cannot_be_built_is_said_and_leaves_neither_image_nor_version(
    yard: Run, server: Server, project: Path, base: Path, fault: Callable[[Path], list[str]]
) -> None:
    wanted = fault(project)
    told = {"MODELYARD_URL": server.url, "MODELYARD_TOKEN": server.token}
    built = yard("build", "-o", "out", "--base-image", f"oci:{base}", cwd=project)
    pushed = yard("push", "yard/broken", cwd=project, **told)
    for done in (built, pushed):
        assert done.returncode == 1, done.stderr
        assert "error: " in done.stderr
        assert all(words in done.stderr for words in wanted), done.stderr
        assert "Traceback" not in done.stderr
        assert "unexpected" not in done.stderr
    assert not (project / "out").exists()
    assert versions(server, "broken") == 404


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "log in"),
        (403, "does not let you"),
        (404, "has no 3"),
        (429, "asked too often"),
        (500, "status 500"),
        (503, "status 503"),
    ],
)
def test_a_base_that_a_registry_does_not_give_is_named_with_its_reason(
    yard: Run, project: Path, status: int, words: str
) -> None:
    with serving(lambda handler: handler.answer(200 if handler.path == "/v2/" else status, b"{}")) as url:
        ref = f"{url.removeprefix('http://')}/library/python:3"
        done = yard("build", "-o", "out", "--base-image", ref, cwd=project)
    assert done.returncode == 1
    assert f"error: the base image {ref} cannot be had: " in done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / "out").exists()


@pytest.mark.parametrize("before", ["", "docker:"])
def test_the_name_of_an_image_that_an_engine_has_is_answered_by_how_to_build_on_it(
    yard: Run, project: Path, before: str
) -> None:
    # Wherever this runs, Docker's registry is not reached.
    name = "fe/python:3.11"
    done = yard("build", "--base-image", before + name, "-o", "out", cwd=project, HTTPS_PROXY="http://127.0.0.1:1")
    assert done.returncode in (1, 2)
    assert "hint: a base comes from a registry or an OCI layout; " in done.stderr
    assert f"`skopeo copy docker-daemon:{name} oci:FOLDER`" in done.stderr


def test_a_build_that_is_killed_leaves_nothing_that_the_next_one_takes_for_whole(
    yard: Run, project: Path, base: Path, tmp_path: Path
) -> None:
    (project / "weights.bin").write_bytes(os.urandom(60 * MIB))
    command = [yard_process.YARD, "build", "-o", "out", "--base-image", f"oci:{base}"]
    for after in (0.3, 0.6, 0.9):
        with subprocess.Popen(
            command, cwd=project, env=yard_process.environment(tmp_path), stderr=subprocess.PIPE
        ) as it:
            time.sleep(after)
            it.send_signal(signal.SIGKILL)
    done = yard("build", "-o", "out", "--base-image", f"oci:{base}", cwd=project)
    assert done.returncode == 0, done.stderr
    layout = Layout(project / "out")
    (described,) = layout.names().values()
    _, manifest = layout.image(None, described.platform)
    assert all(layout.has(each) for each in (manifest.config, *manifest.layers))
    shutil.rmtree(project / "out")
    shutil.rmtree(project / ".cog")
    again = yard("build", "-o", "out", "--base-image", f"oci:{base}", cwd=project)
    assert again.returncode == 0, again.stderr
    assert [each.digest for each in Layout(project / "out").names().values()] == [described.digest]


@small_disks.needs_root
def test_a_build_onto_a_full_disk_says_so_and_leaves_no_image(yard: Run, project: Path, base: Path) -> None:
    (project / ".dockerignore").write_text("disk\n")
    (project / "weights.bin").write_bytes(os.urandom(12 * MIB))
    with small_disks.mounted(project / "disk", "4m") as disk:
        done = yard("build", "-o", "disk/out", "--base-image", f"oci:{base}", cwd=project)
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        assert "unexpected" not in done.stderr
        assert not (disk / "out" / "index.json").exists()
