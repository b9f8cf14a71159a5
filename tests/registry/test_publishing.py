"""What a push makes of an image in a whole yard: a version, nothing, or a refusal; who may pull it, and what leaves."""

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


def delete_version(http: httpx.Client, name: str, manifest: bytes) -> None:
    gone = http.delete(f"/v1/models/{name}/versions/{oci.digest_of(manifest)[7:]}")
    assert gone.status_code == 202, gone.text


def pulled(http: httpx.Client, name: str, *references: str) -> list[int]:
    """How GET and HEAD of these manifests are answered."""
    asked = [(method, f"/v2/{name}/manifests/{each}") for each in references for method in ("GET", "HEAD")]
    return [http.request(*each).status_code for each in asked]


def tags(http: httpx.Client, name: str) -> list[str]:
    found: list[str] = http.get(f"/v2/{name}/tags/list").json()["tags"]
    return found


def test_the_image_of_a_deleted_version_is_gone_at_once_and_a_push_makes_it_again(
    http: httpx.Client, name: str
) -> None:
    gone, kept = image(http, name, cog_labels()), image(http, name, {**cog_labels(), "other": "x"})
    for tag, data in (("old", gone), ("older", gone), ("new", kept)):
        assert put(http, name, tag, data).status_code == 201
    signature = companion(http, name, gone)
    assert put(http, name, oci.digest_of(signature), signature).status_code == 201

    delete_version(http, name, gone)

    assert set(pulled(http, name, "old", "older", oci.digest_of(gone), oci.digest_of(signature))) == {404}
    assert tags(http, name) == ["new"]
    assert set(pulled(http, name, "new", oci.digest_of(kept))) == {200}
    for layer in oci.named(oci.parse(kept)):
        assert http.get(f"/v2/{name}/blobs/{layer}").status_code == 200
    assert put(http, name, "old", gone).status_code == 201
    assert set(pulled(http, name, "old", oci.digest_of(gone))) == {200}
    assert set(versions(http, name)) == {oci.digest_of(gone)[7:], oci.digest_of(kept)[7:]}


def test_the_parts_of_a_deleted_index_go_and_what_others_need_stays(http: httpx.Client, name: str) -> None:
    alone, shared, version = (image(http, name, {**cog_labels(), "part": each}) for each in ("a", "s", "v"))
    weights = companion(http, name, None)
    for reference, data in (
        ("cog-image.v1", alone),
        (oci.digest_of(shared), shared),
        ("single", version),
        ("cog-weight.w.0123456789ab", weights),
    ):
        assert put(http, name, reference, data).status_code == 201
    bundle, own = index_of(*((each, {}) for each in (alone, shared, version, weights))), index_of((shared, {}))
    assert put(http, name, oci.digest_of(own), own).status_code == 201
    assert put(http, name, "v1", bundle).status_code == 201

    delete_version(http, name, bundle)

    assert set(pulled(http, name, "v1", "cog-image.v1", *map(oci.digest_of, (bundle, alone)))) == {404}
    assert set(pulled(http, name, "single", *map(oci.digest_of, (own, shared, version, weights)))) == {200}
    assert tags(http, name) == ["cog-weight.w.0123456789ab", "single"]


def test_a_version_that_an_index_names_stays_as_its_part_without_its_tags(http: httpx.Client, name: str) -> None:
    data = image(http, name, cog_labels())
    bundle = index_of((data, {}))
    assert [put(http, name, *each).status_code for each in (("one", data), ("all", bundle))] == [201, 201]
    delete_version(http, name, data)
    assert tags(http, name) == ["all"]
    assert pulled(http, name, oci.digest_of(data), "all") == [200] * 4
    delete_version(http, name, bundle)
    assert set(pulled(http, name, *map(oci.digest_of, (data, bundle)))) == {404}
    assert tags(http, name) == []


def test_a_repository_of_a_deleted_model_is_as_one_that_never_was(http: httpx.Client, name: str) -> None:
    data, weights = image(http, name, cog_labels()), companion(http, name, None)
    assert put(http, name, "v1", data).status_code == 201
    assert put(http, name, "cog-weight.w.0123456789ab", weights).status_code == 201
    refused = http.delete(f"/v1/models/{name}")
    assert (refused.status_code, set(pulled(http, name, "v1"))) == (403, {200})
    delete_version(http, name, data)

    assert http.delete(f"/v1/models/{name}").status_code == 204

    never = f"yard/never{name[5:]}"
    references = ("v1", "cog-weight.w.0123456789ab", oci.digest_of(data), oci.digest_of(weights))
    manifests = [f"manifests/{each}" for each in references]
    for path in ("tags/list", *manifests, *(f"blobs/{each}" for each in oci.named(oci.parse(data)))):
        gone, absent = http.get(f"/v2/{name}/{path}"), http.get(f"/v2/{never}/{path}")
        assert (gone.status_code, gone.text) == (absent.status_code, absent.text.replace(never, name))
    again = image(http, name, cog_labels())
    assert put(http, name, "v1", again).status_code == 201
    assert versions(http, name) == [oci.digest_of(again)[7:]]


def companion(http: httpx.Client, name: str, subject: bytes | None) -> bytes:
    """Files of another kind; a signature of an image, where one is given."""
    about = subject and oci.Descriptor(media_type=oci.MANIFEST, digest=oci.digest_of(subject), size=len(subject))
    config, layer = blob(http, name, b"{}"), blob(http, name, b"files", oci.LAYER_TAR)
    return oci.render(oci.Manifest(config=config, layers=(layer,), artifact_type=WEIGHTS, subject=about or None))
