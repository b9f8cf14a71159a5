"""Versions whose layers or labels are made to do harm: a prediction fails with a sentence, and nothing else happens."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from small_disks import needs_root

from modelyard.oci import labels
from modelyard.oci import manifest as oci
from tests.faults.yard import Yard

MIB = 1024 * 1024
MODEL = "class Runner:\n    def run(self, text: str) -> str:\n        return text * 2\n"


def layer(*members: tarfile.TarInfo, data: bytes = b"harm") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for each in members:
            each.size = len(data) if each.isreg() else 0
            archive.addfile(each, io.BytesIO(data) if each.isreg() else None)
    return gzip.compress(file.getvalue())


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    return found


HARM = {
    "parent": (layer(member("src/../../../harm")), "leads out of the folder"),
    "absolute": (layer(member("/tmp/harm")), "leads out of the folder"),
    "link out": (layer(member("src/l", tarfile.SYMTYPE, "/etc"), member("src/l/harm")), "which is outside"),
    "hard link": (layer(member("src/h", tarfile.LNKTYPE, "/etc/passwd")), "leads out of the folder"),
    "device": (layer(member("src/d", tarfile.CHRTYPE)), "is a device, pipe or socket"),
    "cut short": (layer(member("src/x"), data=os.urandom(5000))[:2000], "cannot be read"),
}


def with_layer(yard: Yard, good: str, harm: bytes, name: str) -> str:
    """A version of another model: the good one with one more layer of source."""
    # Not by a pull: it has no base.
    manifest = json.loads((yard.data / "blobs" / "oci" / "sha256" / good).read_bytes())
    for each in (manifest["config"], *manifest["layers"]):
        path = f"/v2/yard/{name}/blobs/uploads/?mount={each['digest']}&from=yard/good"
        assert yard.http.post(path).status_code == 201
    digest = oci.digest_of(harm)
    assert yard.http.post(f"/v2/yard/{name}/blobs/uploads/?digest={digest}", content=harm).status_code == 201
    described = {"mediaType": oci.LAYER_GZIP, "digest": digest, "size": len(harm)}
    manifest["layers"].append(described | {"annotations": {oci.LAYER_KIND: labels.SOURCE}})
    data = json.dumps(manifest).encode()
    put = yard.http.put(f"/v2/yard/{name}/manifests/latest", content=data, headers={"Content-Type": oci.MANIFEST})
    assert put.status_code == 201, put.text
    return oci.digest_of(data).removeprefix("sha256:")


def sources(yard: Yard) -> list[str]:
    folder = yard.data / "store" / "sources"
    return sorted(each.name for each in folder.iterdir()) if folder.exists() else []


def test_layers_that_lead_out_of_their_folder_fail_their_predictions_and_leave_nothing(
    make_yard: Callable[..., Yard],
) -> None:
    yard = make_yard().start()
    good = yard.push("good", MODEL)
    for number, (harm, words) in enumerate(HARM.values()):
        version = with_layer(yard, good, harm, f"harm{number}")
        done = yard.create(version, {"text": "a"}, Prefer="wait=60")
        assert done["status"] == "failed", done
        assert words in done["error"], done["error"]
        assert "Traceback" not in done["error"]
        assert sources(yard) == []
    assert not list(Path(yard.folder).rglob("harm"))
    assert not Path("/tmp/harm").exists()
    assert yard.create(good, {"text": "a"}, Prefer="wait=60")["output"] == "aa"
    yard.check_store()


@needs_root
def test_a_layer_that_unpacks_to_more_than_the_disk_fails_its_prediction_and_gives_the_room_back(small: Yard) -> None:
    good = small.push("good", MODEL)
    free = os.statvfs(small.data).f_bavail
    version = with_layer(small, good, layer(member("src/zeros"), data=bytes(200 * MIB)), "bomb")
    done = small.create(version, {"text": "a"}, Prefer="wait=60")
    assert done["status"] == "failed"
    assert "not enough room on the disk to unpack the version" in done["error"]
    assert sources(small) == []
    assert os.statvfs(small.data).f_bavail > free * 0.9
    deadline = time.monotonic() + 30  # how much is free is looked up once a second
    while small.http.get("/v1/yard").json().get("status") == "degraded" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert small.create(good, {"text": "a"}, Prefer="wait=60")["output"] == "aa"
    small.check_store()


ENDLESS = ["[" * 200_000, '{"a":' * 200_000, "1" * 200_000, '{"a":"\\ud800"}', '{"a":"\\u0000"}', "[]", "null"]
# Deep, and just not too deep to be read.
DEEP = '{"a":' * 900 + "1" + "}" * 900


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_labels_without_measure_are_refused_with_a_sentence_and_make_no_version(
    make_yard: Callable[..., Yard], request: pytest.FixtureRequest, database: str
) -> None:
    url = request.getfixturevalue("postgres_url") if database == "postgres" else None
    yard = make_yard(database=url).start()
    for key in ("run.cog.openapi_schema", "run.cog.config"):
        for text in ENDLESS:
            refused = put(yard, key, text)
            if refused.status_code == 201:
                assert (key, text) == ("run.cog.config", ENDLESS[4])
                continue
            assert refused.status_code in (400, 422), (text[:20], refused.text)
            (error,) = refused.json()["errors"]
            assert "label" in error["message"]
            assert len(error["message"]) < 500
    assert put(yard, "run.cog.config", DEEP).status_code in (201, 422)
    model = yard.http.get("/v1/models/yard/m")
    assert model.status_code == 200
    for version in yard.http.get("/v1/models/yard/m/versions").json()["results"]:
        assert yard.create(version["id"], {}, Prefer="wait=60")["status"] == "failed"
    assert "Traceback" not in yard.log()
    yard.check_store()


def put(yard: Yard, key: str, text: str) -> httpx.Response:
    """Send an image with this label among those of a model."""
    schema = json.dumps({"components": {"schemas": {"Input": {"type": "object", "properties": {}}}}})
    given = {**labels.cog(version="0.23.1", config="{}", schema=schema), key: text}
    config = oci.render_config(oci.Config(labels=given))
    described = oci.Descriptor(media_type=oci.CONFIG, digest=oci.digest_of(config), size=len(config))
    sent = yard.http.post(f"/v2/yard/m/blobs/uploads/?digest={described.digest}", content=config)
    assert sent.status_code == 201
    data = oci.render(oci.Manifest(config=described, layers=()))
    return yard.http.put("/v2/yard/m/manifests/latest", content=data, headers={"Content-Type": oci.MANIFEST})
