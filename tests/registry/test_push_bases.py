"""`yard push` on a base that is in a registry: one real yard is the registry of another's base."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yard_process
from tools import Tools, needs
from yard_process import Server

from modelyard.cli import registries
from modelyard.cli.client import Login
from modelyard.oci import manifest as oci
from modelyard.oci.client.remote import Repository
from modelyard.oci.layers import Member, write_layer
from modelyard.oci.layout import Layout
from modelyard.oci.manifest import CONFIG, Config, Descriptor, Manifest
from modelyard.packaging.base import PYTHON_LABEL

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
SENTENCE = "The version has no base, so that no container can be made of it."


@dataclass
class Colleague:
    """Somebody with a project and a login, who names no base."""

    server: Server
    folder: Path

    def push(self, model: str, *arguments: str, status: int = 0, **variables: str) -> str:
        """What a push said."""
        told = {"MODELYARD_URL": self.server.url, "MODELYARD_TOKEN": self.server.token, "MODELYARD_BASE_IMAGE": ""}
        done = yard_process.run(
            "push", model, *arguments, home=self.folder.with_name("home"), cwd=self.folder, **{**told, **variables}
        )
        assert done.returncode == status, done.stderr
        return done.stderr

    def repository(self, model: str) -> Repository:
        return registries.at_yard(Login(self.server.url, self.server.token), model)

    def image(self, model: str) -> Manifest:
        with self.repository(model) as there:
            stored = there.manifest("latest")
        assert stored is not None
        found = oci.parse(stored.data)
        assert isinstance(found, Manifest)
        return found


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with yard_process.up(tmp_path_factory.mktemp("upstream")) as server:
        yield server


@pytest.fixture(scope="module")
def base(upstream: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Descriptor]:
    """The name of a base there, and its layer, which has two megabytes."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "data").write_bytes(os.urandom(2_000_000))
    layer = write_layer([Member(name="data", path=folder / "data")], folder / "layer.tar.gz")
    labels = {PYTHON_LABEL: f"/usr/bin/python{OWN} {OWN}"}
    config = oci.render_config(
        Config(architecture="amd64", labels=labels, environment=("PATH=/bin",), diff_ids=(layer.diff_id,))
    )
    described = Descriptor(media_type=CONFIG, digest=oci.digest_of(config), size=len(config))
    manifest = oci.render(Manifest(config=described, layers=(layer.descriptor,)))
    with registries.at_yard(Login(upstream.url, upstream.token), "yard/base") as there:
        there.send(layer.descriptor.digest, layer.descriptor.size, layer.chunks)
        there.send_bytes(described.digest, config)
        there.put_manifest(oci.digest_of(manifest), manifest, oci.MANIFEST)
    host = upstream.url.removeprefix("http://")
    return f"{host}/yard/base@{oci.digest_of(manifest)}", layer.descriptor


def docker_login(folder: Path, upstream: Server) -> str:
    """A configuration of Docker's in which somebody is logged in there."""
    folder.mkdir(parents=True, exist_ok=True)
    auth = base64.b64encode(f"me:{upstream.token}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {upstream.url.removeprefix("http://"): {"auth": auth}}}))
    return str(folder)


def project(folder: Path) -> Path:
    folder.mkdir()
    (folder / "cog.yaml").write_text(f'build:\n  python_version: "{OWN}"\nrun: "run.py:run"\n')
    (folder / "run.py").write_text("def run(text: str) -> str:\n    return text\n")
    return folder


@pytest.fixture
def logged_in(tmp_path: Path, upstream: Server) -> str:
    return docker_login(tmp_path / "docker", upstream)


def kept(folder: Path, layer: Descriptor) -> Path:
    return folder / "data" / "blobs" / oci.blob_key(layer.digest)


def api(server: Server, method: str, path: str, **more: object) -> dict[str, object]:
    headers = {"Authorization": f"Bearer {server.token}"}
    reply = httpx.request(method, server.url + path, headers=headers, timeout=60, **more)  # type: ignore[arg-type]
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def test_a_push_on_the_yards_base_sends_no_layer_of_it_and_a_pull_gets_it_whole(
    tmp_path: Path, base: tuple[str, Descriptor], logged_in: str
) -> None:
    name, layer = base
    yard = tmp_path / "yard"
    yard.mkdir()
    with yard_process.up(yard, MODELYARD_BASE_IMAGE=name, DOCKER_CONFIG=logged_in) as server:
        colleague = Colleague(server, project(tmp_path / "project"))
        said = colleague.push("yard/on-it", "--platform", "linux/amd64", DOCKER_CONFIG=logged_in)
        assert f"The yard gets {name} from its registry itself" in said
        assert layer.digest in [each.digest for each in colleague.image("yard/on-it").layers]
        assert not kept(yard, layer).exists()
        checked = api(server, "POST", "/v1/yard/check", json={"deep": True})
        assert checked["findings"] == []
        assert checked["counts"]["elsewhere"] == 1  # type: ignore[index]
        assert api(server, "POST", "/v1/yard/prune", json={"unused": "0"})["failures"] == []
        with colleague.repository("yard/on-it") as there:
            there.fetch(layer.digest, tmp_path / "came")
        assert kept(yard, layer).read_bytes() == (tmp_path / "came").read_bytes()
        assert api(server, "POST", "/v1/yard/check", json={"deep": True})["findings"] == []
        # Another model of the same yard has nothing to send of it either.
        assert "Sending" in colleague.push("yard/second", "--platform", "linux/amd64", DOCKER_CONFIG=logged_in)
        with colleague.repository("yard/second") as there:
            assert there.size(layer.digest) == layer.size


def test_a_base_that_only_the_pusher_reaches_is_sent(
    tmp_path: Path, base: tuple[str, Descriptor], logged_in: str
) -> None:
    name, layer = base
    yard = tmp_path / "yard"
    yard.mkdir()
    with yard_process.up(yard) as server:
        colleague = Colleague(server, project(tmp_path / "project"))
        said = colleague.push("yard/sent", "--platform", "linux/amd64", "--base-image", name, DOCKER_CONFIG=logged_in)
        assert "from its registry itself" not in said
        assert f"Fetching 1 layer of {name}" in said
        assert kept(yard, layer).exists()


def test_a_version_without_a_base_is_pulled_by_nobody_and_the_reply_says_why(
    tmp_path: Path, base: tuple[str, Descriptor]
) -> None:
    yard = tmp_path / "yard"
    yard.mkdir()
    # Nobody here may read it.
    with yard_process.up(yard, MODELYARD_BASE_IMAGE=base[0]) as server:
        colleague = Colleague(server, project(tmp_path / "project"))
        said = colleague.push("yard/alone", "--platform", "linux/amd64")
        assert "the version has no base, so that it runs in this yard and not as a container: " in said
        assert "hint: name one with --base-image" in said
        reply = httpx.get(
            f"{server.url}/v2/yard/alone/manifests/latest", headers={"Authorization": f"Bearer {server.token}"}
        )
        assert reply.status_code == 404
        asked = httpx.head(str(reply.url), headers=reply.request.headers)
        assert asked.status_code == 404, "a pull begins with it, and hears the same"
        assert "had all of it already" in colleague.push("yard/alone", "--platform", "linux/amd64")
        assert reply.json()["errors"][0]["message"].startswith(SENTENCE)


def layout_of(base: tuple[str, Descriptor], upstream: Server, folder: Path) -> Path:
    """The same base as a folder of somebody's disk."""
    name, layer = base
    layout = Layout(folder)
    with registries.at_yard(Login(upstream.url, upstream.token), "yard/base") as there:
        stored = there.manifest(name.partition("@")[2])
        assert stored is not None
        manifest = oci.parse(stored.data)
        assert isinstance(manifest, Manifest)
        for each in (layer, manifest.config):
            there.fetch(each.digest, folder / "came")
            layout.take(folder / "came", each.digest)
    digest = layout.put(stored.data)
    layout.name(Descriptor(media_type=oci.MANIFEST, digest=digest, size=len(stored.data)), "latest")
    return folder


@pytest.mark.parametrize("model", ["yard/known", "yard/another"])
def test_a_base_of_ones_disk_is_sent_where_the_yard_knows_of_its_layer_and_has_it_not(
    tmp_path: Path, base: tuple[str, Descriptor], logged_in: str, upstream: Server, model: str
) -> None:
    name, layer = base
    yard = tmp_path / "yard"
    yard.mkdir()
    (tmp_path / "layout").mkdir()
    folder = layout_of(base, upstream, tmp_path / "layout")
    with yard_process.up(yard, MODELYARD_BASE_IMAGE=name, DOCKER_CONFIG=logged_in) as server:
        colleague = Colleague(server, project(tmp_path / "project"))
        colleague.push("yard/known", "--platform", "linux/amd64", DOCKER_CONFIG=logged_in)
        colleague.push(model, "--platform", "linux/amd64", "--base-image", f"oci:{folder}")
        assert kept(yard, layer).stat().st_size == layer.size
        # Now that it is here, the next one sends nothing of it.
        said = colleague.push("yard/third", "--platform", "linux/amd64", "--base-image", f"oci:{folder}")
        assert "MB" not in said, said


@needs("docker")
def test_docker_pulls_through_and_hears_why_there_is_nothing_to_pull(
    tmp_path: Path, base: tuple[str, Descriptor], logged_in: str
) -> None:
    name, _ = base
    yard = tmp_path / "yard"
    yard.mkdir()
    with yard_process.up(yard, MODELYARD_BASE_IMAGE=name, DOCKER_CONFIG=logged_in) as server:
        colleague = Colleague(server, project(tmp_path / "project"))
        colleague.push("yard/through", "--platform", "linux/amd64", DOCKER_CONFIG=logged_in)
        colleague.push("yard/alone", "--base-image", "none")
        tools = Tools(tmp_path, server.url.removeprefix("http://"), server.token)
        tools.login()
        try:
            tools.run("docker", "pull", "--platform", "linux/amd64", f"{tools.host}/yard/through")
        finally:
            tools.forget(f"{tools.host}/yard/through")
        said = tools.run("docker", "pull", f"{tools.host}/yard/alone", status=1)
        assert SENTENCE in said
        assert "does not appear to conform" not in said
