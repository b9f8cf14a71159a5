"""skopeo and buildah at a yard, over plain HTTP and over TLS."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import certificates
import pytest
import yard_process
from tools import Tools, cog_labels, needs

from modelyard.oci import manifest as oci
from modelyard.oci.layers import Member, write_layer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("yard")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[yard_process.Server]:
    with yard_process.up(folder) as running:
        yield running


@pytest.fixture
def tools(server: yard_process.Server, tmp_path: Path) -> Tools:
    return Tools(tmp_path, server.url.partition("//")[2].rstrip("/"), server.token)


@pytest.fixture
def name() -> str:
    """A model that no other test knows."""
    return f"yard/m{uuid.uuid4().hex[:10]}"


def versions(server: yard_process.Server, name: str) -> list[str]:
    request = urllib.request.Request(
        f"{server.url.rstrip('/')}/v1/models/{name}/versions", headers={"Authorization": f"Bearer {server.token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return [each["id"] for each in json.loads(reply.read())["results"]]
    except urllib.error.HTTPError as error:
        # No push has made the model yet.
        return [] if error.code == 404 else [f"status {error.code}"]


class Layout:
    """An image layout in a folder, as the OCI defines it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs" / "sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, data: bytes, kind: str) -> dict[str, object]:
        digest = oci.digest_of(data)
        (self.folder / "blobs" / "sha256" / digest.partition(":")[2]).write_bytes(data)
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    def image(self, architecture: str, labels: Mapping[str, str], content: bytes = b"# x\n") -> dict[str, object]:
        source = self.folder / "run.py"
        source.write_bytes(f"# for {architecture}\n".encode() + content)
        layer = write_layer([Member(name="src/run.py", path=source)], self.folder / "layer.tar.gz")
        kept = self.blob((self.folder / "layer.tar.gz").read_bytes(), oci.LAYER_GZIP)
        config = oci.Config(architecture=architecture, labels=labels, diff_ids=(layer.diff_id,))
        described = self.blob(oci.render_config(config), oci.CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": oci.MANIFEST, "config": described, "layers": [kept]}
        return self.blob(json.dumps(manifest).encode(), oci.MANIFEST) | {
            "platform": {"os": "linux", "architecture": architecture}
        }

    def index(self, *manifests: object) -> dict[str, object]:
        index = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": manifests}
        return self.blob(json.dumps(index).encode(), oci.INDEX)

    def name(self, described: dict[str, object], name: str = "it") -> str:
        named = described | {"annotations": {"org.opencontainers.image.ref.name": name}}
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
        return f"oci:{self.folder}:{name}"


def hex_of(described: dict[str, object]) -> str:
    return str(described["digest"]).partition(":")[2]


@needs("skopeo")
def test_skopeo_copies_inspects_lists_and_deletes(server: yard_process.Server, tools: Tools, name: str) -> None:
    layout = Layout(tools.folder / "layout")
    image = layout.image("amd64", cog_labels())
    target, creds = f"docker://{tools.host}/{name}", f"me:{server.token}"
    tools.run("skopeo", "copy", "--dest-tls-verify=false", f"--dest-creds={creds}", layout.name(image), f"{target}:one")
    assert versions(server, name) == [hex_of(image)]

    seen = json.loads(tools.run("skopeo", "inspect", "--tls-verify=false", f"--creds={creds}", f"{target}:one"))
    assert seen["Digest"] == image["digest"]
    assert seen["Labels"]["run.cog.version"] == "0.23.1"
    listed = tools.run("skopeo", "list-tags", "--tls-verify=false", f"--creds={creds}", target)
    assert json.loads(listed)["Tags"] == ["one"]

    back = tools.folder / "back"
    tools.run("skopeo", "copy", "--src-tls-verify=false", f"--src-creds={creds}", f"{target}:one", f"oci:{back}:it")
    for path in (layout.folder / "blobs" / "sha256" / hex_of(image), layout.folder / "layer.tar.gz"):
        digest = oci.digest_of(path.read_bytes()).partition(":")[2]
        assert (back / "blobs" / "sha256" / digest).read_bytes() == path.read_bytes()

    refused = tools.run("skopeo", "delete", "--tls-verify=false", f"--creds={creds}", f"{target}:one", status=1)
    assert f"is a version of {name}; delete the version, and its image goes with it" in refused
    request = urllib.request.Request(
        f"{server.url.rstrip('/')}/v1/models/{name}/versions/{hex_of(image)}",
        headers={"Authorization": f"Bearer {server.token}"},
        method="DELETE",
    )
    urllib.request.urlopen(request, timeout=60).close()
    gone = tools.run("skopeo", "inspect", "--tls-verify=false", f"--creds={creds}", f"{target}:one", status=1)
    assert "manifest unknown" in gone


@needs("skopeo")
def test_an_image_for_several_platforms_is_one_version(server: yard_process.Server, tools: Tools, name: str) -> None:
    layout = Layout(tools.folder / "layout")
    images = [layout.image(architecture, cog_labels()) for architecture in ("arm64", "amd64")]
    index = layout.index(*images)
    target, creds = f"docker://{tools.host}/{name}", f"me:{server.token}"
    where = ("--dest-tls-verify=false", f"--dest-creds={creds}")
    tools.run("skopeo", "copy", "--all", *where, layout.name(index), f"{target}:all")
    assert versions(server, name) == [hex_of(index)]
    command = ["skopeo", "--override-arch=amd64", "--override-os=linux", "inspect", "--tls-verify=false"]
    seen = json.loads(tools.run(*command, f"--creds={creds}", f"{target}:all"))
    assert seen["Architecture"] == "amd64"


@needs("skopeo")
def test_a_push_that_was_killed_is_not_seen_and_can_be_done_again(
    server: yard_process.Server, tools: Tools, name: str, folder: Path
) -> None:
    layout = Layout(tools.folder / "layout")
    image = layout.image("amd64", cog_labels(), content=os.urandom(60 * 1024 * 1024))
    source, target = layout.name(image), f"docker://{tools.host}/{name}:one"
    command = ("skopeo", "copy", "--dest-tls-verify=false", f"--dest-creds=me:{server.token}", source, target)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        uploads = folder / "data" / "uploads"
        while child.poll() is None and not any(size_of(path) > 1_000_000 for path in uploads.glob("*.part")):
            time.sleep(0.001)
        child.kill()
    assert child.returncode != 0
    assert versions(server, name) == []
    tools.run(*command)
    assert versions(server, name) == [hex_of(image)]


def size_of(path: Path) -> int:
    """0 for what is gone by now: an upload that ended has another name."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@needs("skopeo")
def test_an_index_without_a_model_for_us_is_refused(tools: Tools, name: str) -> None:
    layout = Layout(tools.folder / "layout")
    index = layout.index(layout.image("amd64", {}), layout.image("arm64", cog_labels()))
    where = ("--dest-tls-verify=false", f"--dest-creds=me:{tools.token}")
    target = f"docker://{tools.host}/{name}:all"
    said = tools.run("skopeo", "copy", "--all", *where, layout.name(index), target, status=1)
    assert "The image has no label with its OpenAPI schema, so it is no model." in said


@needs("skopeo")
def test_a_yard_with_a_certificate_is_a_registry_too(tmp_path: Path, name: str) -> None:
    pair, authority = certificates.make_issued(tmp_path)
    (tmp_path / "yard").mkdir()
    environ = yard_process.environment(tmp_path) | {"MODELYARD_ADMIN_TOKEN": yard_process.TOKEN}
    command = [yard_process.YARD, "up", "--port", "0", "--data", str(tmp_path / "yard")]
    given = ["--tls-cert", str(pair.chain), "--tls-key", str(pair.key)]
    with subprocess.Popen([*command, *given], env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "ready at" not in (line := process.stderr.readline()):
            assert line, "the yard ended"
        try:
            trusted = tmp_path / "trusted"
            trusted.mkdir()
            shutil.copy(authority, trusted / "ca.crt")
            port = line.strip().rpartition(":")[2]
            tools = Tools(tmp_path, f"127.0.0.1:{port}", yard_process.TOKEN)
            layout = Layout(tmp_path / "layout")
            image = layout.image("amd64", cog_labels())
            target, creds = f"docker://{tools.host}/{name}:one", f"me:{tools.token}"
            sent = ("skopeo", "copy", f"--dest-creds={creds}", layout.name(image), target)
            assert "certificate" in tools.run(*sent, status=1)
            tools.run(*sent, f"--dest-cert-dir={trusted}")
            seen = tools.run("skopeo", "inspect", f"--cert-dir={trusted}", f"--creds={creds}", target)
            assert json.loads(seen)["Digest"] == image["digest"]
        finally:
            process.terminate()


@needs("buildah")
def test_buildah_pushes_and_pulls(server: yard_process.Server, tools: Tools, name: str) -> None:
    places = ("--root", str(tools.folder / "storage"), "--runroot", str(tools.folder / "run"))
    buildah = ("buildah", *places, "--storage-driver", "vfs")
    (tools.folder / "run.py").write_text("# from buildah\n")
    container = tools.run(*buildah, "from", "scratch").strip()
    tools.run(*buildah, "copy", container, "run.py", "/src/run.py")
    for key, value in cog_labels().items():
        tools.run(*buildah, "config", "--label", f"{key}={value}", container)
    tag = f"{tools.host}/{name}:one"
    tools.run(*buildah, "commit", "--quiet", container, tag)
    tools.run(*buildah, "login", "--tls-verify=false", "-u", "me", "--password-stdin", tools.host, stdin=tools.token)
    tools.run(*buildah, "push", "--tls-verify=false", tag, f"docker://{tag}")
    (version,) = versions(server, name)

    tools.run(*buildah, "rm", container)
    tools.run(*buildah, "rmi", tag)
    tools.run(*buildah, "pull", "--quiet", "--tls-verify=false", f"docker://{tools.host}/{name}@sha256:{version}")
    (seen,) = json.loads(tools.run(*buildah, "images", "--json"))
    assert seen["digest"] == f"sha256:{version}"
