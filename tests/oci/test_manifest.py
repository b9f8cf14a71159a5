"""Manifests: what is rendered is parsed again, the same bytes each time; what is wrong is named by its key."""

from __future__ import annotations

import json

import pytest

from modelyard.oci import labels
from modelyard.oci.manifest import (
    CONFIG,
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    LAYER_GZIP,
    MANIFEST,
    Config,
    Descriptor,
    Index,
    Manifest,
    ManifestError,
    blob_key,
    digest_of,
    is_digest,
    parse,
    parse_config,
    render,
    render_config,
)

DIGEST = digest_of(b"x")
IMAGE = Manifest(
    config=Descriptor(media_type=CONFIG, digest=DIGEST, size=1),
    layers=(Descriptor(media_type=LAYER_GZIP, digest=DIGEST, size=2, annotations={"b": "2", "a": "1"}),),
    annotations={"key": "wört"},
)


def test_a_manifest_survives_being_rendered_and_parsed() -> None:
    assert parse(render(IMAGE)) == IMAGE
    assert render(parse(render(IMAGE))) == render(IMAGE)  # type: ignore[arg-type]


def test_the_order_of_keys_does_not_change_the_digest() -> None:
    other = Manifest(
        config=IMAGE.config,
        layers=(Descriptor(media_type=LAYER_GZIP, digest=DIGEST, size=2, annotations={"a": "1", "b": "2"}),),
        annotations=IMAGE.annotations,
    )
    assert render(other) == render(IMAGE)


def test_the_configuration_survives_and_holds_no_time() -> None:
    config = Config(
        labels={"a": "1"}, environment=("A=1",), working_dir="/src", diff_ids=(DIGEST,), architecture="arm64"
    )
    assert parse_config(render_config(config)) == config
    assert b"created" not in render_config(config)


def test_what_docker_writes_is_understood() -> None:
    image = json.loads(render(IMAGE)) | {"mediaType": DOCKER_MANIFEST}
    assert isinstance(parse(json.dumps(image).encode()), Manifest)
    index = {"schemaVersion": 2, "mediaType": DOCKER_INDEX, "manifests": [image["config"]]}
    assert isinstance(parse(json.dumps(index).encode()), Index)
    del index["mediaType"]
    assert isinstance(parse(json.dumps(index).encode(), DOCKER_INDEX + "; charset=utf-8"), Index)
    assert parse_config(b'{"config": {"Labels": null, "Env": null}, "history": [1]}') == Config(
        architecture="", os="", labels={}
    )


WRONG = {
    "not JSON": (b"{", "JSON"),
    "not text": (b"\xff\xfe", "JSON"),
    "deep": (b"[" * 100_000, "nested|JSON"),
    "not an object": (b"[]", "object"),
    "old": (b'{"schemaVersion": 1}', "schemaVersion"),
    "kind": (b'{"schemaVersion": 2, "mediaType": "text/plain"}', "text/plain"),
    "no config": (b'{"schemaVersion": 2, "layers": []}', "config"),
    "no layers": (json.dumps({**json.loads(render(IMAGE)), "layers": None}).encode(), "layers"),
    "digest": (render(IMAGE).replace(DIGEST.encode(), b"sha256:../../x"), "digest"),
    "size": (render(IMAGE).replace(b'"size":2', b'"size":-2'), r"layers\[0\]\.size"),
    "bool size": (render(IMAGE).replace(b'"size":2', b'"size":true'), r"layers\[0\]\.size"),
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_wrong_manifest_is_refused_by_the_name_of_its_key(name: str) -> None:
    data, words = WRONG[name]
    with pytest.raises(ManifestError, match=words):
        parse(data, MANIFEST)


@pytest.mark.parametrize("text", ["", "sha256:", DIGEST + "\n", DIGEST.upper(), "sha512:" + "0" * 64, "sha256:../x"])
def test_only_a_digest_becomes_a_key(text: str) -> None:
    assert not is_digest(text)
    with pytest.raises(ManifestError):
        blob_key(text)


def test_cogs_labels_are_read_under_both_names() -> None:
    found = labels.cog(version="1", config="{}", schema='{"a":1}')
    assert labels.read_cog(found, labels.COG_SCHEMA) == '{"a":1}'
    assert labels.read_cog({"org.cogmodel.cog_version": "0.9"}, labels.COG_VERSION) == "0.9"
    assert labels.read_cog({}, labels.COG_CONFIG) is None
