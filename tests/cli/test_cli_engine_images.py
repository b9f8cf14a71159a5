"""What commands leave in the Docker Engine for their next time: listed, and freed where nobody needs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bases
import pytest
from docker_images import docker
from yard_process import Run

from modelyard.cli import engine_images, project_container

# The first of these on a machine makes a Debian.
pytestmark = pytest.mark.timeout(400)
MARK = "org.modelyard.made-for"
BYTES = 300_000


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    bases.require_engine()
    folder = tmp_path / "project"
    folder.mkdir()
    yield folder
    made = docker("images", "--quiet", "--filter", f"label={MARK}={folder}").split()
    subprocess.run(["docker", "rmi", "-f", *made], capture_output=True, check=False)


def image(folder: Path, name: str, below: str = "scratch") -> str:
    """An image with some bytes of its own, made for the folder."""
    (folder.parent / "content").write_bytes(os.urandom(BYTES))
    flags = ("--quiet", "--label", f"{MARK}={folder}", "--tag", name, "--file", "-")
    docker("build", *flags, str(folder.parent), stdin=f"FROM {below}\nCOPY content /{os.getpid()}\n".encode())
    return name


def listed(yard: Run, *words: str) -> dict[str, dict[str, Any]]:
    """What a command says of the engine's images, by their names."""
    done = yard(*words, "--here", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    found = told["engine_images"] if "engine_images" in told else told["items"]
    return {each["name"]: each for each in found if each.get("kind", "engine") == "engine"}


def there(name: str) -> bool:
    return docker("images", "--quiet", name) != ""


def test_what_a_container_of_a_project_needs_is_kept_until_the_project_is_no_more(yard: Run, project: Path) -> None:
    base = bases.debian()
    (project / "cog.yaml").write_text(f'build:\n  python_version: "{bases.python_of(base)}"\n')
    name = project_container.image_name(project)
    done = yard("exec", "--container", "true", cwd=project, MODELYARD_BASE_IMAGE=f"oci:{base}")
    assert done.returncode == 0, done.stderr
    seen = listed(yard, "images")[name]
    assert (seen["project"], seen["used"]) == (str(project), False)
    # Of its layers others may have each, as whoever else tests here.
    assert 0 <= seen["unique_bytes"] <= seen["bytes"] > 0
    assert f"{name} " in yard("images", "--here").stdout
    assert name not in listed(yard, "prune", "--dry-run")
    assert listed(yard, "prune", "--dry-run", "--all")[name]["why"] == "asked for: --all"
    shutil.rmtree(project)
    container = docker("create", name, "true")
    assert listed(yard, "images")[name]["used"]
    for flags in ((), ("--all",)):
        assert name not in listed(yard, "prune", "--dry-run", *flags)
    docker("rm", container)
    assert listed(yard, "prune", "--dry-run")[name]["why"] == f"{project} is no more"
    assert there(name)
    gone = listed(yard, "prune")[name]
    assert gone["bytes"] <= seen["bytes"]
    assert not there(name)


def test_images_that_stand_on_each_other_go_together_and_every_byte_is_counted_once(yard: Run, project: Path) -> None:
    lower = image(project, f"modelyard/environment:test-{os.getpid()}")
    upper = image(project, f"modelyard/steps:test-{os.getpid()}", lower)
    shutil.rmtree(project)
    tried = listed(yard, "prune", "--dry-run")
    assert [tried[name]["bytes"] // BYTES for name in (upper, lower)] == [2, 0]
    assert listed(yard, "prune").keys() >= {upper, lower}
    assert not there(upper)
    assert not there(lower)


def test_what_has_no_label_of_ours_or_the_name_of_somebody_is_never_touched(yard: Run, project: Path) -> None:
    mine = image(project, f"modelyard-test/mine:{os.getpid()}")
    both = image(project, f"modelyard/run:both-{os.getpid()}")
    docker("tag", both, f"{mine}-too")
    plain = f"modelyard/run:plain-{os.getpid()}"
    docker("build", "--quiet", "--tag", plain, "-", stdin=b'FROM scratch\nCMD ["none"]\n')
    shutil.rmtree(project)
    try:
        assert listed(yard, "prune", "--dry-run", "--all").keys().isdisjoint({mine, both, plain})
        yard("prune", "--here")
        assert all(map(there, (mine, both, plain, f"{mine}-too")))
    finally:
        docker("rmi", plain)


def test_an_image_that_somebody_asked_for_says_nothing_of_the_folder_it_was_made_in() -> None:
    plain = json.dumps({"config": {"Labels": {"mine": "1"}}, "history": [{"created_by": "COPY"}]}).encode()
    assert engine_images.unmarked(plain) == plain
    marked = json.loads(engine_images.marked(plain, "/home/me/project"))
    assert marked["config"]["Labels"] == {"mine": "1", MARK: "/home/me/project"}
    for step in (f"LABEL {MARK}=/home/me/project", f"/bin/sh -c #(nop)  LABEL {MARK}=/home/me/project"):
        marked["history"] = [{"created_by": "COPY"}, {"created_by": step, "empty_layer": True}]
        assert json.loads(engine_images.unmarked(json.dumps(marked).encode())) == json.loads(plain)
