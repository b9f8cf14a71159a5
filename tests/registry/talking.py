"""Requests to a registry over real HTTP, and small images to send."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from registry_yard import Yard

from modelyard.oci import manifest as oci
from modelyard.oci.manifest import CONFIG, LAYER_GZIP, MANIFEST, Config, Descriptor, Manifest

OWNER = {"Authorization": "Bearer owner-token"}
OTHER = {"Authorization": "Bearer other-token"}


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        found = json.loads(self.body)["errors"]
        assert len(found) == 1
        assert set(found[0]) == {"code", "message", "detail"}
        return dict(found[0])


def ask(
    yard: Yard, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, **more: str
) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", yard.port, timeout=30)
    connection.request(method, path, body, {**(OWNER if headers is None else headers), **more})
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return Reply(response.status, {key.lower(): value for key, value in response.getheaders()}, data)


def put_blob(yard: Yard, repository: str, data: bytes) -> Descriptor:
    digest = oci.digest_of(data)
    reply = ask(yard, "POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", data)
    assert reply.status == 201
    return Descriptor(media_type=LAYER_GZIP, digest=digest, size=len(data))


def image(yard: Yard, repository: str, text: str = "") -> bytes:
    config = put_blob(yard, repository, oci.render_config(Config(labels={"text": text})))
    layer = put_blob(yard, repository, b"layer " + text.encode())
    config = Descriptor(media_type=CONFIG, digest=config.digest, size=config.size)
    return oci.render(Manifest(config=config, layers=(layer,)))


def put_manifest(yard: Yard, path: str, data: bytes, media_type: str = MANIFEST) -> Reply:
    return ask(yard, "PUT", path, data, None, **{"Content-Type": media_type})
