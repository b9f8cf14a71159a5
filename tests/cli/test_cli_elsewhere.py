"""`yard push` to a registry that is no yard: what it sends there, and what it says where it cannot."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bases
import foreign_registry
import httpx
import pytest
import weights_project
import yard_process
from docker_images import docker
from weights_servers import serving
from yard_process import Run, Server

from modelyard.cli import registries
from modelyard.oci.client import reference
from modelyard.oci.layers import Layer
from modelyard.weights import artifact

ACCEPT = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with foreign_registry.up(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with foreign_registry.up(tmp_path_factory.mktemp("closed"), closed=True) as host:
        yield host


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bases.small(tmp_path_factory.mktemp("base"))


@pytest.fixture
def name() -> str:
    return f"me/m{uuid.uuid4().hex[:10]}"


def project(folder: Path, *lines: str, python: str = bases.OWN) -> None:
    named = f'build: {{python_version: "{python}"}}'
    (folder / "cog.yaml").write_text("\n".join([named, 'run: "run.py:run"', *lines, ""]))
    (folder / "run.py").write_text("def run(text: str) -> str:\n    return text.upper()\n")
    (folder / ".dockerignore").write_text("home\n")


def manifest(host: str, name: str, tag: str) -> tuple[dict[str, Any], str]:
    found = httpx.get(f"http://{host}/v2/{name}/manifests/{tag}", headers={"Accept": ACCEPT})
    assert found.status_code == 200, found.text
    return found.json(), found.headers["docker-content-digest"]


def labels(host: str, name: str, digest: str) -> dict[str, str]:
    return dict(httpx.get(f"http://{host}/v2/{name}/blobs/{digest}").json()["config"]["Labels"])


def docker_login(folder: Path, host: str, user: str, password: str) -> dict[str, str]:
    """Who one is there, as `docker login` keeps it."""
    folder.mkdir(exist_ok=True)
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return {"DOCKER_CONFIG": str(folder)}


def send_base(host: str, name: str, base: Path) -> Layer:
    """Let the registry have the base as `name:latest`; gives its layer."""
    with registries.elsewhere(reference.parse(f"{host}/{name}", "the base"), {}) as there:
        return bases.send(base, there)


def test_an_image_is_sent_to_any_registry_and_says_how_it_is_run(
    yard: Run, tmp_path: Path, host: str, base: Path, name: str
) -> None:
    project(tmp_path)
    done = yard("push", f"{host}/{name}", "--base-image", f"oci:{base}")
    assert done.returncode == 0, done.stderr
    found, digest = manifest(host, name, "latest")
    assert done.stdout == f"{host}/{name}@{digest}\n"
    lines = done.stderr.splitlines()
    assert lines[0] == f"Pushing to {host}/{name}..."
    assert f"  image  {host}/{name}@{digest}" in lines
    assert f"  docker run -p 5000:5000 {host}/{name}:latest" in lines
    assert f"  yard run {host}/{name}:latest -i text=…" in lines
    told = labels(host, name, found["config"]["digest"])
    assert json.loads(told["run.cog.openapi_schema"])["components"]["schemas"]["Input"]["properties"]["text"]
    assert {"run.cog.version", "run.cog.config", "run.cog.has_init", "run.cog.pip_freeze"} <= told.keys()
    assert UUID7.fullmatch(told["run.cog.push_id"])
    # Another tag of the same project sends no layer, and is known as another push.
    again = yard("push", "--json", f"{host}/{name}:v2", "--base-image", f"oci:{base}")
    assert again.returncode == 0, again.stderr
    second, digest = manifest(host, name, "v2")
    assert second["layers"] == found["layers"]
    assert json.loads(again.stdout) == {
        "image": f"{host}/{name}:v2",
        "digest": digest,
        "sent_bytes": second["config"]["size"],
    }
    assert labels(host, name, second["config"]["digest"])["run.cog.push_id"] != told["run.cog.push_id"]


def test_cog_yaml_and_the_variables_say_where_to_and_a_yard_needs_no_login(
    yard: Run, tmp_path: Path, host: str, base: Path, name: str
) -> None:
    given = {"MODELYARD_BASE_IMAGE": f"oci:{base}"}
    project(tmp_path, f"image: {host}/{name}:one")
    done = yard("push", **given)
    assert done.returncode == 0, done.stderr
    assert f"Pushing to {host}/{name}:one..." in done.stderr
    manifest(host, name, "one")
    project(tmp_path, f"model: {host}/{name}")
    assert yard("push", COG_MODEL_TAG="two", **given).returncode == 0
    manifest(host, name, "two")
    project(tmp_path, "model: yard/somewhere")
    assert yard("push", COG_MODEL=f"{host}/{name}:three", **given).returncode == 0
    manifest(host, name, "three")
    assert yard("push", COG_MODEL_REGISTRY=host, COG_MODEL_REPO=f"{name}-other", **given).returncode == 0
    manifest(host, f"{name}-other", "latest")


def test_a_base_of_the_same_registry_is_taken_over_and_one_of_another_is_sent(
    yard: Run, tmp_path: Path, host: str, base: Path, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    layer = send_base(host, f"{name}-base", base).descriptor
    project(tmp_path)
    given = {"MODELYARD_BASE_IMAGE": f"{host}/{name}-base"}
    done = yard("push", "--platform", "linux/amd64", f"{host}/{name}", **given)
    assert done.returncode == 0, done.stderr
    assert f"Its registry has {host}/{name}-base already" in done.stderr
    assert "Fetching" not in done.stderr
    assert layer.digest in [each["digest"] for each in manifest(host, name, "latest")[0]["layers"]]
    with foreign_registry.up(tmp_path_factory.mktemp("third")) as third:
        done = yard("push", "--platform", "linux/amd64", f"{third}/{name}", **given)
        assert done.returncode == 0, done.stderr
        assert f"Fetching 1 layer of {host}/{name}-base" in done.stderr
        assert layer.digest in [each["digest"] for each in manifest(third, name, "latest")[0]["layers"]]


def test_what_a_registry_does_not_let_one_take_over_is_sent(
    yard: Run, tmp_path: Path, host: str, base: Path, name: str
) -> None:
    """It stands before the real one, and refuses to give a repository layers of another."""
    refused: list[str] = []

    def handle(handler: Any) -> None:
        body = handler.body()
        if "mount=" in handler.path:
            refused.append(handler.path)
            handler.answer(403, b"{}")
            return
        names = ("Content-Type", "Content-Range", "Accept")
        said = {key: handler.headers[key] for key in names if handler.headers[key]}
        reply = httpx.request(handler.command, f"http://{host}{handler.path}", headers=said, content=body)
        told = {key: reply.headers[key] for key in ("Location", "Range") if key in reply.headers}
        handler.answer(reply.status_code, reply.content, **told)

    project(tmp_path)
    given = {"MODELYARD_BASE_IMAGE": f"oci:{base}"}
    with serving(handle) as url:
        place = url.removeprefix("http://")
        assert yard("push", f"{place}/{name}-first", **given).returncode == 0
        assert refused == []
        done = yard("push", f"{place}/{name}", **given)
    assert done.returncode == 0, done.stderr
    assert refused
    assert manifest(host, name, "latest")[0]["layers"] == manifest(host, f"{name}-first", "latest")[0]["layers"]


def test_without_a_base_there_is_no_image(yard: Run, tmp_path: Path, host: str, name: str) -> None:
    project(tmp_path)
    done = yard("push", f"{host}/{name}", "--base-image", "127.0.0.1:1/x/y")
    assert done.returncode == 1
    assert "error: the base image 127.0.0.1:1/x/y cannot be had" in done.stderr
    assert "hint: " in done.stderr
    none = yard("push", f"{host}/{name}", "--base-image", "none")
    assert none.returncode != 0
    assert "no base is wanted" in none.stderr
    assert httpx.get(f"http://{host}/v2/{name}/tags/list").status_code == 404


def test_a_registry_that_wants_a_login_is_told_what_docker_knows(
    yard: Run, tmp_path: Path, closed: str, base: Path, name: str
) -> None:
    project(tmp_path)
    arguments = ("push", f"{closed}/{name}", "--base-image", f"oci:{base}")
    nobody = yard(*arguments, DOCKER_CONFIG=str(tmp_path / "nothing"))
    assert nobody.returncode == 1
    assert f"{closed} wants you to log in" in nobody.stderr
    assert f"`docker login {closed}`" in nobody.stderr
    assert "`yard login " in nobody.stderr
    wrong = yard(*arguments, **docker_login(tmp_path / "docker", closed, "me", "wrong"))
    assert wrong.returncode == 1
    assert f"{closed} does not accept your login" in wrong.stderr
    # Nothing was made before that was known.
    assert not (tmp_path / ".cog" / "layers").exists()
    done = yard(*arguments, **docker_login(tmp_path / "docker", closed, "me", "secret"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "does not let you push there: no room for you"),
        (404, "it is not there: no room for you"),
        (405, "status 405: no room for you"),
        (503, "could not take what is sent, status 503: no room for you"),
    ],
)
def test_what_the_registry_refuses_is_said_before_anything_is_made(
    yard: Run, tmp_path: Path, base: Path, status: int, words: str
) -> None:
    project(tmp_path)
    said = json.dumps({"errors": [{"code": "DENIED", "message": "no room for you"}]}).encode()
    with serving(lambda handler: handler.body() is None or handler.answer(status, said)) as url:
        place = url.removeprefix("http://")
        done = yard("push", f"{place}/me/model", "--base-image", f"oci:{base}")
    assert done.returncode == 1
    assert f"error: {place}" in done.stderr
    assert words in done.stderr
    assert not (tmp_path / ".cog" / "layers").exists()


def test_an_argument_beside_the_key_model_is_refused_for_another_registry(yard: Run, tmp_path: Path) -> None:
    project(tmp_path, "model: ghcr.io/me/model")
    done = yard("push", "127.0.0.1:1/me/other")
    assert done.returncode == 2
    assert "positional image argument not supported with 'model' config" in done.stderr
    assert "hint: COG_MODEL=127.0.0.1:1/me/other yard push sends it there" in done.stderr


def test_a_yard_that_one_is_not_logged_in_to_is_a_registry_like_any_other(
    yard: Run, server: Server, tmp_path: Path, base: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project(tmp_path)
    with yard_process.up(tmp_path_factory.mktemp("another")) as other:
        place = other.url.partition("://")[2]
        told = docker_login(tmp_path / "docker", place, "yard", other.token)
        given = {"MODELYARD_URL": server.url, "MODELYARD_TOKEN": server.token, "MODELYARD_BASE_IMAGE": f"oci:{base}"}
        done = yard("push", f"{place}/yard/from-afar", **given, **told)
        assert done.returncode == 0, done.stderr
        version = done.stdout.strip().rpartition("sha256:")[2]
        with httpx.Client(headers={"Authorization": f"Bearer {other.token}"}) as http:
            assert http.get(f"{other.url}/v1/models/yard/from-afar/versions/{version}").status_code == 200
            http.headers["Authorization"] = f"Bearer {server.token}"
            assert http.get(f"{server.url}/v1/models/yard/from-afar").status_code == 404


def test_docker_pulls_and_runs_what_was_pushed_and_skopeo_shows_its_labels(
    yard: Run, tmp_path: Path, host: str, name: str
) -> None:
    bases.require_engine()
    debian = bases.debian()
    project(tmp_path, python=bases.python_of(debian))
    image = f"{host}/{name}:v1"
    done = yard("push", image, "--base-image", f"oci:{debian}")
    assert done.returncode == 0, done.stderr
    try:
        docker("pull", image)
        code = "from run import run; print(run('hello'))"
        assert docker("run", "--rm", image, "python", "-c", code) == "HELLO"
        assert yard("run", image, "-i", "text=hello").stdout == "HELLO\n"
        assert docker("inspect", "--format", '{{index .Config.Labels "run.cog.has_init"}}', image) == "true"
    finally:
        subprocess.run(["docker", "rmi", "-f", image], capture_output=True, check=False)
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo shows the rest: apt-get install skopeo")
    shown = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", f"docker://{image}"], capture_output=True, check=True, timeout=60
    )
    found = json.loads(shown.stdout)
    assert f"{host}/{name}@{found['Digest']}" == done.stdout.strip()
    assert UUID7.fullmatch(found["Labels"]["run.cog.push_id"])


def test_managed_weights_are_beside_their_image_and_come_where_it_runs(
    yard: Run, tmp_path: Path, host: str, name: str
) -> None:
    bases.require_engine()
    debian = bases.debian()
    folder, store = tmp_path / "project", str(tmp_path / "store")
    for path, data in weights_project.FILES.items():
        (folder / "original" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "original" / path).write_bytes(data)
    weights_project.write(folder, weights_project.BASE, model=f"{host}/{name}", code=weights_project.READS)
    text = (folder / "cog.yaml").read_text()
    (folder / "cog.yaml").write_text(f'build: {{python_version: "{bases.python_of(debian)}"}}\n{text}')
    told = {"COG_CACHE_DIR": store, "MODELYARD_BASE_IMAGE": f"oci:{debian}"}
    imported = yard("weights", "import", cwd=folder, **told)
    assert imported.returncode == 0, imported.stderr
    done = yard("push", cwd=folder, **told)
    assert done.returncode == 0, done.stderr
    pushed = re.search(rf"Pushing to {host}/{name}:(\d{{8}}T\d{{6}}Z)\.\.\.", done.stderr)
    assert pushed, done.stderr
    index, digest = manifest(host, name, pushed[1])
    image, weight = index["manifests"]
    assert weight["artifactType"] == artifact.TYPE
    assert manifest(host, name, f"cog-image.{pushed[1]}")[1] == image["digest"]
    assert done.stderr.splitlines()[-6:-3] == [
        f"  model   {host}/{name}@{digest}",
        f"  ├─ image   {host}/{name}@{image['digest']}",
        f"  └─ weight  base  {host}/{name}@{weight['digest']}",
    ]
    place = f"{host}/{name}:v1"
    again = yard("push", cwd=folder, COG_MODEL_TAG="v1", **told)
    assert again.returncode == 0, again.stderr
    # Into a repository that the import did not send them to, they go by being taken over.
    moved = yard("push", "--json", cwd=folder, COG_MODEL=f"{host}/{name}-moved:v1", **told)
    assert moved.returncode == 0, moved.stderr
    assert len(manifest(host, f"{name}-moved", "v1")[0]["manifests"]) == 2
    try:
        ran = yard("run", place, COG_CACHE_DIR=str(tmp_path / "another"))
        assert ran.stdout == "['a.txt', 'sub'] all of a\n", ran.stderr
        assert "Pulling base... (" in ran.stderr
    finally:
        subprocess.run(["docker", "rmi", "-f", place], capture_output=True, check=False)
