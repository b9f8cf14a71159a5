"""What a push makes of an image in a whole yard: a version, nothing, or a refusal; and who may pull it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yard_process
from tools import CONFIG, SCHEMA, cog_labels

from modelyard.accounts import Accounts
from modelyard.db.sqlite import SqliteDatabase
from modelyard.oci import labels
from modelyard.oci import manifest as oci

OTHER = "r8_" + "o" * 37
WEIGHTS = "application/vnd.cog.weight.v1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("yard")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[yard_process.Server]:
    with yard_process.up(folder) as running:
        asyncio.run(_add_account(folder / "data" / "yard.db"))
        yield running


async def _add_account(path: Path) -> None:
    database = SqliteDatabase(path, fsync="process")
    await database.open()
    accounts = Accounts(database, lambda: time.time_ns() // 1000)
    other = await accounts.create("other", "Other")
    await accounts.create_token(other.id, "other", OTHER)
    await database.close()


@pytest.fixture
def http(server: yard_process.Server) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {server.token}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
        yield client


@pytest.fixture
def other(server: yard_process.Server) -> Iterator[httpx.Client]:
    """Somebody else, who signs in as docker does."""
    with httpx.Client(base_url=server.url, auth=("whoever", OTHER), timeout=60) as client:
        yield client


@pytest.fixture
def name() -> str:
    """A model that no other test knows."""
    return f"yard/m{os.urandom(5).hex()}"


def blob(http: httpx.Client, name: str, data: bytes, kind: str = oci.LAYER_GZIP) -> oci.Descriptor:
    digest = oci.digest_of(data)
    reply = http.post(f"/v2/{name}/blobs/uploads/", params={"digest": digest}, content=data)
    assert reply.status_code == 201, reply.text
    return oci.Descriptor(media_type=kind, digest=digest, size=len(data))


def image(http: httpx.Client, name: str, labelled: Mapping[str, str], text: str = "x") -> bytes:
    config = blob(http, name, oci.render_config(oci.Config(labels=labelled)), oci.CONFIG)
    return oci.render(oci.Manifest(config=config, layers=(blob(http, name, text.encode()),)))


def put(http: httpx.Client, name: str, reference: str, data: bytes) -> httpx.Response:
    kind = json.loads(data)["mediaType"]
    return http.put(f"/v2/{name}/manifests/{reference}", content=data, headers={"Content-Type": kind})


def index_of(*parts: tuple[bytes, dict[str, Any]]) -> bytes:
    manifests = [
        {"mediaType": oci.MANIFEST, "digest": oci.digest_of(data), "size": len(data), **more} for data, more in parts
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": manifests}).encode()


def versions(http: httpx.Client, name: str) -> list[str]:
    reply = http.get(f"/v1/models/{name}/versions")
    return [] if reply.status_code == 404 else [each["id"] for each in reply.json()["results"]]


def test_a_bundle_of_image_and_weights_is_one_version(http: httpx.Client, name: str) -> None:
    model = image(http, name, cog_labels())
    config = blob(http, name, b"{}", "application/vnd.cog.weight.config.v1+json")
    layer = blob(http, name, b"weights", oci.LAYER_TAR)
    weights = oci.render(oci.Manifest(config=config, layers=(layer,), artifact_type=WEIGHTS))
    assert put(http, name, "cog-weight.w.0123456789ab", weights).status_code == 201
    assert put(http, name, "cog-image.v1", model).status_code == 201
    assert versions(http, name) == []

    unknown = {"platform": {"os": "unknown", "architecture": "unknown"}}
    index = index_of((model, {"platform": {"os": "linux", "architecture": "amd64"}}), (weights, unknown))
    assert put(http, name, "v1", index).status_code == 201
    (version,) = versions(http, name)
    assert version == oci.digest_of(index)[7:]
    shown = http.get(f"/v1/models/{name}/versions/{version}").json()
    assert shown["openapi_schema"] == SCHEMA
    for data in (index, model, weights):
        refused = http.delete(f"/v2/{name}/manifests/{oci.digest_of(data)}")
        assert refused.status_code == 409, refused.text


def test_what_comes_by_its_digest_waits_for_an_index(http: httpx.Client, name: str) -> None:
    data = image(http, name, {})
    assert put(http, name, oci.digest_of(data), data).status_code == 201
    assert versions(http, name) == []
    assert put(http, name, "latest", data).status_code == 422


def test_an_index_of_artifacts_alone_makes_no_version(http: httpx.Client, name: str) -> None:
    config = blob(http, name, b"{}")
    made = oci.render(oci.Manifest(config=config, layers=(), artifact_type=WEIGHTS))
    put(http, name, oci.digest_of(made), made)
    assert put(http, name, "all", index_of((made, {}))).status_code == 201
    assert versions(http, name) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"run.cog.openapi_schema": None}, "no label with its OpenAPI schema"),
        ({"run.cog.openapi_schema": "{"}, "its OpenAPI schema is not JSON"),
        ({"run.cog.openapi_schema": "[]"}, "its OpenAPI schema is no JSON object"),
        ({"run.cog.openapi_schema": '{"components": []}'}, "describes no inputs"),
        ({"run.cog.openapi_schema": '{"components":{"schemas":{"Input":{"required":[[]]}}}}'}, "describes no inputs"),
        ({"run.cog.config": None}, "no label with its cog.yaml"),
        ({"run.cog.config": '"x"'}, "its cog.yaml is no JSON object"),
        ({"run.cog.config": '{"build": []}'.replace("[]", "[1]")}, "`build` that is no object"),
        ({labels.CONCURRENCY: "many"}, "org.modelyard.concurrency is 'many'"),
        ({labels.CONCURRENCY: "0"}, "a number from 1 to"),
        ({labels.CONCURRENCY: "\u0661"}, "a number from 1 to"),
    ],
)
def test_labels_that_are_wrong_are_refused_by_name(
    http: httpx.Client, name: str, change: Mapping[str, str | None], words: str
) -> None:
    labelled = {key: value for key, value in {**cog_labels(), **change}.items() if value is not None}
    refused = put(http, name, "latest", image(http, name, labelled))
    assert refused.status_code == 422
    (error,) = refused.json()["errors"]
    assert error["code"] == "MANIFEST_INVALID"
    assert words in error["message"]
    assert http.get(f"/v2/{name}/manifests/latest").status_code == 404
    assert versions(http, name) == []


@pytest.mark.parametrize("config", [b"", b"{", b"[]", b'{"config": 5}', b'{"config": {"Labels": ["x"]}}'])
def test_a_configuration_that_is_broken_is_refused(http: httpx.Client, name: str, config: bytes) -> None:
    described = blob(http, name, config, oci.CONFIG)
    refused = put(http, name, "latest", oci.render(oci.Manifest(config=described, layers=())))
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["code"] == "MANIFEST_INVALID"


@pytest.mark.parametrize("text", ["0.23.1\u0000", "x" * 5000])
def test_a_strange_version_of_cog_does_no_harm(http: httpx.Client, name: str, text: str) -> None:
    assert put(http, name, "latest", image(http, name, {**cog_labels(), "run.cog.version": text})).status_code == 201
    (version,) = http.get(f"/v1/models/{name}/versions").json()["results"]
    assert version["cog_version"] == text[:100].replace("\0", "")


def test_the_page_of_a_pushed_model_shows_its_form(http: httpx.Client, server: yard_process.Server, name: str) -> None:
    created = http.post(
        "/v1/models",
        json={"owner": "yard", "name": name[5:], "visibility": "public", "hardware": "cpu"},
    )
    assert created.status_code == 201
    put(http, name, "latest", image(http, name, cog_labels()))
    page = httpx.get(f"{server.url}/{name}", headers={"accept": "text/html"}, timeout=60)
    assert page.status_code == 200
    assert 'name="text"' in page.text


def test_a_private_model_is_pulled_by_its_owner_alone_and_a_public_one_by_everybody(
    http: httpx.Client, other: httpx.Client, name: str
) -> None:
    for visibility, status in (("private", 404), ("public", 200)):
        model = f"{name}-{visibility}"
        made = {"owner": "yard", "name": model[5:], "visibility": visibility, "hardware": "cpu"}
        assert http.post("/v1/models", json=made).status_code == 201
        data = image(http, model, cog_labels(), "the layer")
        layer = oci.named(oci.parse(data))[1]
        assert put(http, model, "latest", data).status_code == 201
        for path in ("manifests/latest", f"blobs/{layer}", "tags/list", f"referrers/{oci.digest_of(data)}"):
            assert http.get(f"/v2/{model}/{path}").status_code == 200
            assert other.get(f"/v2/{model}/{path}").status_code == status
        mount = other.post("/v2/other/m/blobs/uploads/", params={"mount": layer, "from": model})
        assert mount.status_code == (201 if visibility == "public" else 202)
        assert put(other, model, "latest", data).status_code == (403 if visibility == "public" else 404)


def test_what_labels_say_is_what_the_version_says(http: httpx.Client, name: str) -> None:
    put(http, name, "latest", image(http, name, {**cog_labels("org.cogmodel."), labels.CONCURRENCY: "4"}))
    (version,) = http.get(f"/v1/models/{name}/versions").json()["results"]
    assert version["cog_version"] == "0.23.1"
    assert CONFIG["predict"] == "run.py:Runner"
