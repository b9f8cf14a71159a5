"""The yard and its commands, and a registry that wants tokens: its base is there, and pushes go there."""

from __future__ import annotations

import base64
import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import bases
import httpx
import pytest
import token_service
import yard_process
from docker_images import docker
from token_service import IDENTITY, Registry
from yard_process import Run

from modelyard.cli import registries
from modelyard.cli.client import Login
from modelyard.oci import manifest as oci
from modelyard.oci.client import reference

pytestmark = pytest.mark.timeout(400)
CODE = "def run(text: str) -> str:\n    return text.upper()\n"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with token_service.up(tmp_path_factory.mktemp("tokens")) as found:
        yield found


@pytest.fixture
def name() -> str:
    return f"m{uuid.uuid4().hex[:10]}"


@pytest.fixture
def logged_in(registry: Registry, tmp_path: Path) -> dict[str, str]:
    """What `docker login` of `me` leaves."""
    return docker_config(tmp_path / "docker", registry, {"auth": base64.b64encode(b"me:secret").decode()})


def docker_config(folder: Path, registry: Registry, entry: dict[str, str]) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {registry.host: entry}}))
    return {"DOCKER_CONFIG": str(folder)}


def project(folder: Path, python: str = bases.OWN) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "cog.yaml").write_text(f'build: {{python_version: "{python}"}}\nrun: "run.py:run"\n')
    (folder / "run.py").write_text(CODE)
    (folder / ".dockerignore").write_text("home\ndocker\n")
    return folder


def base_there(registry: Registry, name: str, folder: Path, who: dict[str, str]) -> oci.Descriptor:
    """A base as `me/NAME` of the registry; gives its layer."""
    with registries.elsewhere(reference.parse(f"{registry.host}/me/{name}", "the base"), who) as there:
        return bases.send(bases.small(folder), there).descriptor


@pytest.mark.parametrize("whose", ["public", "me"])
def test_a_yards_base_is_in_a_registry_that_wants_tokens(
    registry: Registry, name: str, tmp_path: Path, logged_in: dict[str, str], whose: str
) -> None:
    """A public one, as nobody; or one of the yard's own, as whom the yard is logged in there."""
    layer = base_there(registry, name, tmp_path / "base", logged_in)
    if whose == "public":
        registry.publish(name)
    image, who = f"{registry.host}/{whose}/{name}", {} if whose == "public" else logged_in
    registry.tokens.asked.clear()
    (tmp_path / "yard").mkdir()
    with yard_process.up(tmp_path / "yard", MODELYARD_BASE_IMAGE=image, **who) as server:
        told = {"MODELYARD_URL": server.url, "MODELYARD_TOKEN": server.token, "MODELYARD_BASE_IMAGE": "", **who}
        folder = project(tmp_path / "project")
        arguments = ("push", "yard/on-it", "--platform", "linux/amd64")
        done = yard_process.run(*arguments, home=folder, cwd=folder, **told)
        assert done.returncode == 0, done.stderr
        assert f"The yard gets {image} from its registry itself" in done.stderr
        kept = tmp_path / "yard" / "data" / "blobs" / oci.blob_key(layer.digest)
        assert not kept.exists()
        with registries.at_yard(Login(server.url, server.token), "yard/on-it") as there:
            there.fetch(layer.digest, tmp_path / "came")
        assert oci.digest_of((tmp_path / "came").read_bytes()) == layer.digest
        assert kept.exists()
    assert {each.said == "" for each in registry.tokens.asked} == {whose == "public"}


@pytest.mark.parametrize("kept", ["password", "identity"])
def test_a_push_goes_to_a_registry_that_wants_tokens(
    yard: Run, registry: Registry, name: str, tmp_path: Path, kept: str
) -> None:
    entry = {"auth": base64.b64encode(b"me:secret").decode()} if kept == "password" else {"identitytoken": IDENTITY}
    who = docker_config(tmp_path / "docker", registry, entry)
    base_there(registry, f"{name}-base", tmp_path / "base", who)
    project(tmp_path)
    given = {"MODELYARD_BASE_IMAGE": f"{registry.host}/me/{name}-base", **who}
    done = yard("push", "--platform", "linux/amd64", f"{registry.host}/me/{name}", **given)
    assert done.returncode == 0, done.stderr
    assert f"Its registry has {registry.host}/me/{name}-base already" in done.stderr
    with registries.elsewhere(reference.parse(f"{registry.host}/me/{name}", "it"), who) as there:
        stored = there.manifest("latest")
        assert stored is not None
        assert done.stdout == f"{registry.host}/me/{name}@{stored.digest}\n"
        found = oci.parse(stored.data)
        assert isinstance(found, oci.Manifest)
        assert all(there.has(each.digest) for each in found.layers)


def test_who_may_not_push_there_hears_so_before_anything_is_made(
    yard: Run, registry: Registry, name: str, tmp_path: Path, logged_in: dict[str, str]
) -> None:
    project(tmp_path)
    base = {"MODELYARD_BASE_IMAGE": f"oci:{bases.small(tmp_path / 'base')}"}
    nobody = yard("push", f"{registry.host}/me/{name}", DOCKER_CONFIG=str(tmp_path / "none"), **base)
    assert nobody.returncode == 1
    assert f"error: {registry.host} wants you to log in to push there" in nobody.stderr
    assert f"docker login {registry.host}" in nobody.stderr
    other = yard("push", f"{registry.host}/them/{name}", **base, **logged_in)
    assert other.returncode == 1
    assert f"error: {registry.host} does not let you push there with your login" in other.stderr
    assert not (tmp_path / ".cog" / "layers").exists()
    assert httpx.get(f"http://{registry.host}/v2/them/{name}/tags/list").status_code == 401


def test_docker_runs_what_is_in_a_registry_that_wants_tokens(
    yard: Run, registry: Registry, name: str, tmp_path: Path, logged_in: dict[str, str]
) -> None:
    bases.require_engine()
    debian = bases.debian()
    project(tmp_path, python=bases.python_of(debian))
    image = f"{registry.host}/me/{name}:v1"
    done = yard("push", image, "--base-image", f"oci:{debian}", **logged_in)
    assert done.returncode == 0, done.stderr
    try:
        ran = yard("run", image, "-i", "text=hello", **logged_in)
        assert ran.stdout == "HELLO\n", ran.stderr
        assert docker("inspect", "--format", "{{.Os}}", image) == "linux"
    finally:
        subprocess.run(["docker", "rmi", "-f", image], capture_output=True, check=False)
