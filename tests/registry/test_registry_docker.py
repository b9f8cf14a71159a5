"""docker itself at a yard: login, push, pull and run; a pushed image is a version, whoever built it."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import debian_base
import pytest
import yard_process
from tools import SCHEMA, Tools, cog_labels, needs

from modelyard.oci import manifest as oci

# The first use of the root file system makes it, where the gate has not.
pytestmark = [needs("docker", "mmdebstrap"), pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[yard_process.Server]:
    with yard_process.up(tmp_path_factory.mktemp("yard")) as running:
        yield running


@pytest.fixture
def tools(server: yard_process.Server, tmp_path: Path) -> Tools:
    tools = Tools(tmp_path, server.url.partition("//")[2].rstrip("/"), server.token)
    tools.login()
    return tools


@pytest.fixture
def name() -> str:
    """A model that no other test knows."""
    return f"yard/m{uuid.uuid4().hex[:10]}"


def get(server: yard_process.Server, path: str, **headers: str) -> bytes:
    request = urllib.request.Request(
        server.url.rstrip("/") + path, headers={"Authorization": f"Bearer {server.token}", **headers}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return bytes(reply.read())


def versions(server: yard_process.Server, name: str) -> list[dict[str, Any]]:
    return list(json.loads(get(server, f"/v1/models/{name}/versions"))["results"])


@pytest.mark.parametrize("prefix", ["run.cog.", "org.cogmodel."])
def test_a_pushed_image_is_a_version_and_comes_back_by_tag_and_by_digest(
    server: yard_process.Server, tools: Tools, name: str, prefix: str
) -> None:
    tag = tools.build(name, "one", cog_labels(prefix))
    image = tools.run("docker", "inspect", "--format", "{{.Id}}", tag)
    said = tools.run("docker", "push", tag)
    (version,) = versions(server, name)
    assert f"digest: sha256:{version['id']}" in said
    assert version["openapi_schema"] == SCHEMA
    assert version["cog_version"] == "0.23.1"

    tools.forget(tag)
    tools.run("docker", "pull", tag)
    assert tools.run("docker", "inspect", "--format", "{{.Id}}", tag) == image
    tools.forget(tag)
    by_digest = f"{tools.host}/{name}@sha256:{version['id']}"
    tools.run("docker", "pull", by_digest)
    assert tools.run("docker", "inspect", "--format", "{{.Id}}", by_digest) == image
    tools.forget(image.strip())


def test_the_second_push_of_an_image_sends_nothing_and_another_model_takes_its_layers_over(
    server: yard_process.Server, tools: Tools, name: str
) -> None:
    tag = tools.build(name, "one", cog_labels())
    tools.run("docker", "push", tag)
    assert "Layer already exists" in tools.run("docker", "push", tag)
    other = f"{tools.host}/{name}-other"
    tools.run("docker", "tag", tag, other)
    assert f"Mounted from {name}" in tools.run("docker", "push", other)
    assert [each["id"] for each in versions(server, name)] == [each["id"] for each in versions(server, f"{name}-other")]
    tools.forget(tag, other)


def test_an_image_that_is_no_model_is_refused_with_a_sentence(
    server: yard_process.Server, tools: Tools, name: str
) -> None:
    tag = tools.build(name, "plain", {})
    said = tools.run("docker", "push", tag, status=1)
    assert "The image has no label with its OpenAPI schema, so it is no model." in said
    broken = tools.build(name, "broken", {**cog_labels(), "run.cog.openapi_schema": "{}"})
    assert "describes no inputs" in tools.run("docker", "push", broken, status=1)
    assert "manifest unknown" in tools.run("docker", "pull", tag, status=1)
    tools.forget(tag)


def test_only_the_owner_pushes_and_only_a_token_logs_in(tools: Tools) -> None:
    tag = tools.build("somebody/else", "one", cog_labels())
    said = tools.run("docker", "push", tag, status=1)
    assert "There is no repository somebody/else that this token may see. This token is yard's, who pushes to" in said
    wrong = tools.run("docker", "login", "-u", "me", "--password-stdin", tools.host, stdin="r8_wrong", status=1)
    assert "401" in wrong
    tools.run("docker", "logout", tools.host)
    assert "no basic auth credentials" in tools.run("docker", "pull", tag, status=1)
    tools.forget(tag)


@pytest.fixture(scope="module")
def cog_image(server: yard_process.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image as Cog 0.23.1 makes it, in the engine."""
    tools = Tools(tmp_path_factory.mktemp("cog"), server.url.partition("//")[2].rstrip("/"), server.token)
    base = "modelyard-test-base:latest"
    with debian_base.tarball().open("rb") as root:
        subprocess.run(["docker", "import", "-", base], stdin=root, check=True, capture_output=True, timeout=240)
    context = tools.folder / "context"
    context.mkdir()
    install = ["uv", "pip", "install", "--quiet", "--python-version", debian_base.PYTHON, "--only-binary", ":all:"]
    packages = ["cog==0.23.1", "coglet==0.23.1"]
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, *install[1:], "--target", str(context / "site"), *packages], check=True, timeout=240)
    (context / "src").mkdir()
    (context / "src" / "cog.yaml").write_text('build:\n  python_version: "3.11"\nrun: "run.py:Runner"\n')
    (context / "src" / "run.py").write_text(
        "from cog import BaseRunner\n\nclass Runner(BaseRunner):\n"
        "    def run(self, text: str) -> str:\n        return 'hello ' + text\n"
    )
    (context / "Dockerfile").write_text(
        f"FROM {base}\nENV PYTHONUNBUFFERED=1\nRUN ln -sf /usr/bin/python3 /usr/local/bin/python\n"
        f"COPY site /usr/local/lib/python{debian_base.PYTHON}/dist-packages\nWORKDIR /src\nEXPOSE 5000\n"
        'ENV COG_PREDICT_TYPE_STUB="run.py:Runner"\nCMD ["python", "-m", "cog.server.http"]\nCOPY src /src\n'
    )
    tag = f"{tools.host}/yard/built-by-cog"
    given = [word for key, value in cog_labels().items() for word in ("--label", f"{key}={value}")]
    tools.run("docker", "build", "--quiet", "--tag", tag, *given, str(context))
    yield tag
    tools.forget(tag, base)


def test_an_image_built_by_cog_becomes_a_version_with_its_schema_and_its_page(
    server: yard_process.Server, tools: Tools, cog_image: str
) -> None:
    tools.run("docker", "push", cog_image)
    (version,) = versions(server, "yard/built-by-cog")
    assert version["openapi_schema"] == SCHEMA
    model = json.loads(get(server, "/v1/models/yard/built-by-cog"))
    assert model["latest_version"]["id"] == version["id"]
    # Its container is what was pushed: it holds the packages and the source.
    tools.forget(cog_image)
    tools.run("docker", "pull", cog_image)
    said = tools.run("docker", "run", "--rm", cog_image, "python", "-c", "import cog, run; print(run.Runner.__name__)")
    assert "Runner" in said


def test_the_process_engine_refuses_a_version_of_cog_with_the_reason(
    server: yard_process.Server, tools: Tools, cog_image: str
) -> None:
    tools.run("docker", "push", cog_image)
    (version,) = versions(server, "yard/built-by-cog")
    request = urllib.request.Request(
        server.url.rstrip("/") + "/v1/predictions",
        data=json.dumps({"version": version["id"], "input": {"text": "x"}}).encode(),
        headers={
            "Authorization": f"Bearer {server.token}",
            "Content-Type": "application/json",
            "Prefer": "wait=30",
        },
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        prediction = json.loads(reply.read())
    assert prediction["status"] == "failed"
    assert "no lock of its environment" in prediction["error"]


def test_an_image_comes_from_the_yard_as_it_was_pushed(server: yard_process.Server, tools: Tools, name: str) -> None:
    tag = tools.build(name, "one", cog_labels())
    tools.run("docker", "push", tag)
    (version,) = versions(server, name)
    data = get(server, f"/v2/{name}/manifests/latest")
    assert oci.digest_of(data) == f"sha256:{version['id']}"
    tools.forget(tag)
