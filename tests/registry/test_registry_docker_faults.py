"""Pushes of docker's own that go wrong: killed, cut off by the yard's death, at once, and onto a full disk.

Nothing half is ever seen, the next push mends it, and at the end the store is whole.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import small_disks
from tools import Tools, cog_labels, needs

from tests.faults.yard import TOKEN, Yard

MEBIBYTE = 1024 * 1024
OURS = "class Runner:\n    def run(self) -> str:\n        return 'x'\n"
pytestmark = [needs("docker"), pytest.mark.timeout(300)]


@contextlib.contextmanager
def looked_at(folder: Path) -> Iterator[Yard]:
    """A yard whose store is looked at when the test is over."""
    yard = Yard(folder)
    try:
        yield yard.start()
        yard.check_store()
    finally:
        yard.end()


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    folder = tmp_path / "yard"
    folder.mkdir()
    with looked_at(folder) as yard:
        yield yard


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Yard]:
    """A yard on a disk of 64 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    with small_disks.mounted(folder / "data", "64m"), looked_at(folder) as yard:
        yield yard


class Docker(Tools):
    """docker's command at a yard, with images that it forgets again."""

    @classmethod
    def at(cls, yard: Yard) -> Docker:
        folder = yard.folder / "docker"
        folder.mkdir()
        docker = cls(folder, yard.url.partition("//")[2], TOKEN)
        docker.login()
        return docker

    def image(self, name: str, size: int) -> str:
        """One with a layer of that many bytes, which nothing compresses."""
        folder = self.folder / uuid.uuid4().hex
        folder.mkdir()
        (folder / "weights.bin").write_bytes(os.urandom(size))
        (folder / "Dockerfile").write_text("FROM scratch\nCOPY weights.bin /src/weights.bin\n")
        tag = f"{self.host}/{name}"
        labels = [word for key, value in cog_labels().items() for word in ("--label", f"{key}={value}")]
        self.run("docker", "build", "--quiet", "--tag", tag, *labels, str(folder))
        return tag

    def pushing(self, tag: str) -> subprocess.Popen[str]:
        environ = {**os.environ, "HOME": str(self.folder), "DOCKER_CONFIG": str(self.folder / ".docker")}
        return subprocess.Popen(
            ["docker", "push", tag], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )


@pytest.fixture
def docker(yard: Yard) -> Docker:
    return Docker.at(yard)


def versions(yard: Yard, name: str) -> list[str]:
    reply = yard.http.get(f"/v1/models/{name}/versions")
    return [] if reply.status_code == 404 else [each["id"] for each in reply.json()["results"]]


def until_it_flows(yard: Yard, least: int, child: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not any(_size_of(part) >= least for part in (yard.data / "uploads").glob("*.part")):
        assert child.poll() is None, f"the push ended before it was cut off: {child.communicate()[0]}"
        assert time.monotonic() < deadline
        time.sleep(0.001)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_a_docker_push_that_is_killed_is_not_seen_and_can_be_done_again(yard: Yard, docker: Docker) -> None:
    tag = docker.image("yard/killed", 80 * MEBIBYTE)
    for least in (1, 10 * MEBIBYTE):
        with docker.pushing(tag) as child:
            until_it_flows(yard, least, child)
            child.kill()
        assert versions(yard, "yard/killed") == []
        assert yard.http.get("/v2/yard/killed/manifests/latest").status_code == 404
    docker.run("docker", "push", tag)
    assert len(versions(yard, "yard/killed")) == 1
    docker.forget(tag)


def test_a_yard_that_dies_under_a_docker_push_comes_back_and_takes_it(yard: Yard, docker: Docker) -> None:
    tag = docker.image("yard/reborn", 80 * MEBIBYTE)
    with docker.pushing(tag) as child:
        until_it_flows(yard, 5 * MEBIBYTE, child)
        yard.kill()
        yard.start()
        assert versions(yard, "yard/reborn") == []
        said, _ = child.communicate(timeout=200)
    # docker tries a layer again by itself, and sends it from its beginning.
    assert child.returncode == 0, said
    (version,) = versions(yard, "yard/reborn")
    assert f"digest: sha256:{version}" in said
    docker.forget(tag)


def test_docker_pushes_of_one_layer_at_once_all_succeed(yard: Yard, docker: Docker) -> None:
    tag = docker.image("yard/one", 20 * MEBIBYTE)
    others = [f"{docker.host}/yard/one:{number}" for number in range(2)] + [f"{docker.host}/yard/two"]
    for other in others:
        docker.run("docker", "tag", tag, other)
    children = [docker.pushing(each) for each in (tag, *others)]
    said = [child.communicate(timeout=200)[0] for child in children]
    assert [child.returncode for child in children] == [0] * 4, said
    assert versions(yard, "yard/one") == versions(yard, "yard/two")
    assert len(versions(yard, "yard/one")) == 1
    tags = yard.http.get("/v2/yard/one/tags/list").json()["tags"]
    assert tags == ["0", "1", "latest"]
    docker.forget(tag, *others)


def test_docker_and_yard_pushes_of_one_model_at_once_leave_every_version_whole(yard: Yard, docker: Docker) -> None:
    tags = [docker.image(f"yard/m:{number}", MEBIBYTE) for number in range(3)]
    made: list[str] = []
    ours = threading.Thread(target=lambda: made.append(yard.push("m", OURS)))
    ours.start()
    children = [docker.pushing(each) for each in tags]
    said = [child.communicate(timeout=200)[0] for child in children]
    ours.join(120)
    assert [child.returncode for child in children] == [0] * 3, said
    found = versions(yard, "yard/m")
    assert len(set(found)) == 4
    assert set(made) <= set(found)
    for version in found:
        assert yard.http.get(f"/v1/models/yard/m/versions/{version}").status_code == 200
        if version not in made:  # ours was pushed without a base, so that nobody pulls it
            assert yard.http.get(f"/v2/yard/m/manifests/sha256:{version}").status_code == 200
    docker.forget(*tags)


@small_disks.needs_root
def test_a_docker_push_onto_a_full_disk_says_so_and_works_when_there_is_room(small: Yard) -> None:
    docker = Docker.at(small)
    tag, little = docker.image("yard/big", 80 * MEBIBYTE), docker.image("yard/little", MEBIBYTE)
    said = docker.run("docker", "push", tag, status=1)
    assert "denied: the upload could not be written and was given up: No space left on device" in said
    assert "Retrying" not in said
    assert versions(small, "yard/big") == []
    assert list((small.data / "uploads").iterdir()) == []
    docker.run("docker", "push", little)
    assert len(versions(small, "yard/little")) == 1
    docker.forget(tag, little)


@small_disks.needs_root
def test_a_yard_push_onto_a_full_disk_says_so_and_works_when_there_is_room(small: Yard, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "cog.yaml").write_text('run: "run.py:run"\n')
    (project / "run.py").write_text("def run() -> str:\n    return 'x'\n")
    (project / "weights.bin").write_bytes(os.urandom(80 * MEBIBYTE))
    done = small.command("push", "yard/m", cwd=project)
    assert done.returncode == 1
    assert "given up" in done.stderr or "nearly full" in done.stderr, done.stderr
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr
    assert versions(small, "yard/m") == []
    assert list((small.data / "uploads").iterdir()) == []
    (project / "weights.bin").write_bytes(os.urandom(8 * MEBIBYTE))
    done = small.command("push", "yard/m", cwd=project)
    assert done.returncode == 0, done.stderr
    assert len(versions(small, "yard/m")) == 1
