"""A version with managed weights on a base: a bundle, which a yard runs in both ways and `yard run IMAGE` runs here."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import bases
import httpx
import pytest
import weights_project
from docker_images import docker
from weights_project import FILES
from yard_process import Run, Server

from modelyard.cli import image_weights
from modelyard.cli.image_source import Found
from modelyard.cli.talk import Talk
from modelyard.oci import labels
from modelyard.weights import lock
from tests.faults.yard import TOKEN, Yard

pytestmark = pytest.mark.timeout(400)
RUNS = """
import os
from pathlib import Path


def run(path: str = "/weights/second/c.txt") -> str:
    try:
        Path(path).write_text("changed")
    except OSError as error:
        return f"{sorted(os.listdir('/src/weights/base'))} {Path(path).read_text()} {error.strerror}"
    return "it could be changed"
"""
SEEN = "['a.txt', 'sub'] all of c Read-only file system"


@pytest.fixture(scope="module")
def base() -> Path:
    bases.require_engine()
    return bases.debian()


def write(folder: Path, base: Path, host: str, model: str) -> None:
    for path, data in FILES.items():
        (folder / "original" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "original" / path).write_bytes(data)
    second = weights_project.Weight(name="a-second", target="/weights/second", files={"c.txt": b"all of c"})
    weights_project.write(folder, weights_project.BASE, second, model=f"{host}/{model}", code=RUNS)
    (folder / "more").mkdir(exist_ok=True)
    (folder / "more" / "c.txt").write_text("all of c")
    text = (folder / "cog.yaml").read_text().replace("run.py:Runner", "run.py:run")
    parts = text.rpartition("./original")
    minor = bases.python_of(base)
    (folder / "cog.yaml").write_text(f'build:\n  python_version: "{minor}"\n{parts[0]}./more{parts[2]}')
    (folder / ".dockerignore").write_text("original\nmore\n")
    lock.path_of(folder).unlink()


@pytest.fixture
def project(tmp_path: Path, base: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def known(url: str, token: str, base: Path, store: Path) -> dict[str, str]:
    return {
        "COG_CACHE_DIR": str(store),
        "MODELYARD_URL": url,
        "MODELYARD_TOKEN": token,
        "MODELYARD_BASE_IMAGE": f"oci:{base}",
    }


def manifest(http: httpx.Client, repository: str, reference: str) -> tuple[dict[str, Any], str]:
    accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"
    found = http.get(f"/v2/{repository}/manifests/{reference}", headers={"Accept": accept})
    assert found.status_code == 200, found.text
    return found.json(), found.headers["docker-content-digest"]


def test_a_bundle_has_its_image_and_its_weights_and_runs_in_the_yard_and_here(
    yard: Run, server: Server, project: Path, base: Path, tmp_path: Path
) -> None:
    host = server.url.partition("://")[2]
    write(project, base, host, "yard/bundled")
    told = known(server.url, server.token, base, tmp_path / "store")
    assert yard("weights", "import", cwd=project, **told).returncode == 0
    done = yard("push", cwd=project, **told)
    assert done.returncode == 0, done.stderr
    assert "has no base" not in done.stderr
    version = done.stdout.strip().rpartition(":")[2]
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.token}"}) as http:
        index, digest = manifest(http, "yard/bundled", "latest")
        assert digest == f"sha256:{version}"
        image, second, first = index["manifests"]
        assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
        assert image["platform"]["os"] == "linux"
        assert second["platform"] == first["platform"] == {"os": "unknown", "architecture": "unknown"}
        assert second["artifactType"] == "application/vnd.cog.weight.v1"
        assert first["annotations"]["run.cog.weight.name"] == "base"
        assert set(first["annotations"]) == {
            "run.cog.weight.name",
            "run.cog.weight.set-digest",
            "run.cog.weight.size.uncompressed",
        }
        weight, _ = manifest(http, "yard/bundled", first["digest"])
        assert weight["annotations"]["run.cog.weight.target"] == "/src/weights/base"
    lines = [line for line in done.stderr.splitlines() if line.startswith("  ") and host in line and "@" in line]
    assert lines == [
        f"  model   {host}/yard/bundled@{digest}",
        f"  ├─ image   {host}/yard/bundled@{image['digest']}",
        f"  ├─ weight  a-second  {host}/yard/bundled@{second['digest']}",
        f"  └─ weight  base      {host}/yard/bundled@{first['digest']}",
    ]
    # What the import sent is not sent again, and the same project is the same version.
    again = yard("push", "--json", cwd=project, **told)
    assert json.loads(again.stdout)["version"] == version
    assert json.loads(again.stdout)["sent_bytes"] == 0
    assert yard("run", "yard/bundled", cwd=tmp_path, **told).stdout == f"{SEEN}\n"
    # As an image, on a machine that has no weights yet.
    place = f"{host}/yard/bundled"
    elsewhere = {**told, "COG_CACHE_DIR": str(tmp_path / "another")}
    try:
        here = yard("run", place, cwd=tmp_path, **elsewhere)
        assert here.stdout == f"{SEEN}\n", here.stderr
        assert "Pulling a-second... (" in here.stderr
        assert "Pulling a-second" not in yard("run", place, cwd=tmp_path, **elsewhere).stderr
        assert list((tmp_path / "another" / "weights" / ".cog" / "mounts").iterdir()) == []
        listed = docker("run", "--rm", f"{place}:latest", "cat", "/.cog/weights.json")
        weights = json.loads(listed)["weights"]
        assert [(each["name"], each["target"]) for each in weights] == [
            ("a-second", "/weights/second"),
            ("base", "/src/weights/base"),
        ]
        assert weights[1]["digest"] == first["digest"]
    finally:
        subprocess.run(["docker", "rmi", "-f", place], capture_output=True, check=False)


def test_weights_that_are_here_are_asked_for_nowhere_and_missing_ones_are_told(
    yard: Run, project: Path, base: Path, tmp_path: Path
) -> None:
    (tmp_path / "registry").mkdir()
    registry = Yard(tmp_path / "registry")
    host = registry.url.partition("://")[2]
    place, whole = f"{host}/yard/beside", f"{host}/yard/whole"
    write(project, base, host, "yard/beside")
    told = known(registry.url, TOKEN, base, tmp_path / "store")
    elsewhere = {**told, "COG_CACHE_DIR": str(tmp_path / "another")}
    try:
        registry.start()
        for words in (("weights", "import"), ("push",), ("build", "-t", whole)):
            done = yard(*words, cwd=project, **told)
            assert done.returncode == 0, done.stderr
        docker("login", host, "--username", "yard", "--password", TOKEN)
        docker("push", whole)
        here = yard("run", place, cwd=tmp_path, **told)
        assert here.stdout == f"{SEEN}\n", here.stderr
        registry.end()
        again = yard("run", place, cwd=tmp_path, **told)
        assert (again.returncode, again.stdout) == (0, f"{SEEN}\n"), again.stderr
        missing = yard("run", place, cwd=tmp_path, **elsewhere)
        assert (missing.returncode, missing.stdout) == (1, "")
        assert f"error: the image '{place}' has its weights (" in missing.stderr
        assert "a-second" in missing.stderr
        assert "hint: pull it by the name that it was pushed with, and run it once while its registry" in missing.stderr
        assert "Starting" not in missing.stderr
        # What has its weights in it needs nobody.
        assert yard("run", whole, cwd=tmp_path, **elsewhere).stdout == "it could be changed\n"
    finally:
        registry.end()
        docker("logout", host)
        subprocess.run(["docker", "rmi", "-f", place, whole], capture_output=True, check=False)


def test_containers_of_a_yard_see_the_weights_of_a_bundle_too(
    yard: Run, project: Path, base: Path, tmp_path: Path
) -> None:
    folder = Path("/var/tmp") / f"yard-bundles-{tmp_path.name}"  # below /tmp is another folder in a container
    folder.mkdir()
    engine = Yard(folder, settings={"MODELYARD_ENGINE": "docker"})
    try:
        engine.start()
        write(project, base, engine.url.partition("://")[2], "yard/contained")
        told = known(engine.url, TOKEN, base, tmp_path / "store")
        assert yard("weights", "import", cwd=project, **told).returncode == 0
        pushed = yard("push", cwd=project, **told)
        assert pushed.returncode == 0, pushed.stderr
        done = yard("run", "yard/contained", cwd=tmp_path, **told)
        assert done.stdout == f"{SEEN}\n", f"{done.stderr}\n{engine.log()}"
    finally:
        engine.end()
        for container in docker("ps", "--all", "--quiet", "--filter", "label=org.modelyard.yard").split():
            if str(engine.data) in docker("inspect", container):
                docker("rm", "--force", container)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_version_never_sees_weights_that_it_does_not_name(
    yard: Run, server: Server, project: Path, base: Path, tmp_path: Path
) -> None:
    host = server.url.partition("://")[2]
    write(project, base, host, "yard/robbed")
    told = known(server.url, server.token, base, tmp_path / "store")
    assert yard("weights", "import", cwd=project, **told).returncode == 0
    assert yard("push", cwd=project, **told).returncode == 0
    found = lock.load(lock.path_of(project))
    assert found is not None
    layer = found.weights[0].layers[0].digest
    stolen = [{"name": "mine", "target": "/weights/mine", "files": [{"path": "c.txt", "layer": layer}]}]
    plain = tmp_path / "plain"
    plain.mkdir()
    name = f"{host}/yard/robber"
    (plain / "cog.yaml").write_text(f'build:\n  python_version: "{bases.python_of(base)}"\nrun: run.py:run\n')
    (plain / "run.py").write_text('def run() -> str:\n    return open("/weights/mine/c.txt").read()\n')
    built = yard("build", "-t", name, cwd=plain, **told)
    assert built.returncode == 0, built.stderr
    label = f"{labels.MANAGED_WEIGHTS}={json.dumps(stolen)}"
    subprocess.run(
        ["docker", "build", "--quiet", "--label", label, "--tag", name, "-"],
        input=f"FROM {name}\n",
        text=True,
        capture_output=True,
        check=True,
    )
    try:
        docker("login", host, "--username", "yard", "--password", server.token)
        docker("push", name)
        done = yard("run", "yard/robber", cwd=tmp_path, **told)
        assert done.returncode == 1
        assert "which the version does not name" in done.stderr
    finally:
        docker("logout", host)
        subprocess.run(["docker", "rmi", "-f", name], capture_output=True, check=False)


def test_an_image_that_was_made_here_is_looked_up_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = labels.cog(version="1", config='{"weights": [{"name": "w"}]}', schema="{}")
    found = Found(name="mine", id="sha256:00", labels=told, places=[f"mine@sha256:{'0' * 64}"])
    with image_weights.shown(found, {"HOME": str(tmp_path)}, Talk(environ={})) as folders:
        assert list(folders) == []
    assert capsys.readouterr().err == ""
