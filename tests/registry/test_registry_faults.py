"""Pushes that go wrong: what is broken is refused with a sentence, nothing half is seen, and the next push mends it."""

from __future__ import annotations

import json
import os
import socket
import threading
from typing import Any

import pytest
from registry_yard import Yard
from talking import OWNER, Reply, ask, image, put_blob, put_manifest

from modelyard import errors
from modelyard.oci import manifest as oci
from modelyard.oci.manifest import CONFIG, DOCKER_MANIFEST, INDEX, MANIFEST, Config, Descriptor, Manifest


def at_once(*calls: Any) -> list[Reply]:
    """What each of these gave, all begun together."""
    gave: dict[int, Reply] = {}
    threads = [threading.Thread(target=lambda n=n, c=c: gave.__setitem__(n, c())) for n, c in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [gave[number] for number in range(len(calls))]


def test_a_push_cut_off_at_any_step_leaves_nothing_to_see_and_can_be_done_again(yard: Yard) -> None:
    layer = os.urandom(50_000)
    digest = oci.digest_of(layer)
    config = oci.render_config(Config(labels={"text": "x"}))
    manifest = oci.render(
        Manifest(
            config=Descriptor(media_type=CONFIG, digest=oci.digest_of(config), size=len(config)),
            layers=(Descriptor(media_type=oci.LAYER_GZIP, digest=digest, size=len(layer)),),
        )
    )

    def steps() -> list[Any]:
        where: list[str] = []

        def begin() -> None:
            where.append(ask(yard, "POST", "/v2/owner/m/blobs/uploads/").headers["location"])

        return [
            begin,
            lambda: ask(yard, "PATCH", where[0], layer[:20_000]),
            lambda: ask(yard, "PATCH", where[0], layer[20_000:]),
            lambda: ask(yard, "PUT", f"{where[0]}?digest={digest}"),
            lambda: put_blob(yard, "owner/m", config),
            lambda: put_manifest(yard, "/v2/owner/m/manifests/latest", manifest),
        ]

    for stop in range(len(steps())):
        for step in steps()[:stop]:
            step()
        yard.restart()
        assert ask(yard, "GET", "/v2/owner/m/manifests/latest").status == 404
        assert yard.arrivals == []
        assert ask(yard, "HEAD", f"/v2/owner/m/blobs/{digest}").status == (200 if stop > 3 else 404)
    for step in steps():
        step()
    assert ask(yard, "GET", "/v2/owner/m/manifests/latest").body == manifest
    assert ask(yard, "GET", f"/v2/owner/m/blobs/{digest}").body == layer


def test_a_layer_that_was_cut_short_is_refused_and_its_manifest_too(yard: Yard) -> None:
    layer = os.urandom(10_000)
    digest = oci.digest_of(layer)
    where = ask(yard, "POST", "/v2/owner/m/blobs/uploads/").headers["location"]
    reply = ask(yard, "PUT", f"{where}?digest={digest}", layer[:9_000])
    assert (reply.status, reply.error["code"]) == (400, "DIGEST_INVALID")
    assert oci.digest_of(layer[:9_000]) in reply.error["message"]
    assert ask(yard, "HEAD", f"/v2/owner/m/blobs/{digest}").status == 404
    assert list((yard.folder / "uploads").iterdir()) == []


def test_a_manifest_that_is_wrong_about_a_size_is_refused(yard: Yard) -> None:
    document = json.loads(image(yard, "owner/m"))
    document["layers"][0]["size"] += 1
    reply = put_manifest(yard, "/v2/owner/m/manifests/latest", json.dumps(document).encode())
    assert (reply.status, reply.error["code"]) == (400, "SIZE_INVALID")
    assert yard.arrivals == []


def test_bytes_that_were_lost_are_asked_for_again(yard: Yard) -> None:
    data = image(yard, "owner/m", "one")
    lost = oci.named(oci.parse(data))[1]
    kept = yard.folder / "blobs" / oci.blob_key(lost)
    content = kept.read_bytes()
    for damage in (kept.unlink, lambda: kept.write_bytes(content[:-1])):
        damage()
        assert yard.findings()
        assert ask(yard, "HEAD", f"/v2/owner/m/blobs/{lost}").status == 404
        assert put_manifest(yard, "/v2/owner/m/manifests/latest", data).error["code"] == "MANIFEST_BLOB_UNKNOWN"
        put_blob(yard, "owner/m", content)
        assert ask(yard, "GET", f"/v2/owner/m/blobs/{lost}").body == content
        assert put_manifest(yard, "/v2/owner/m/manifests/latest", data).status == 201


def test_two_pushes_of_one_layer_at_once_both_succeed(yard: Yard) -> None:
    data = os.urandom(3_000_000)
    digest = oci.digest_of(data)
    path = f"/v2/owner/m/blobs/uploads/?digest={digest}"
    replies = at_once(*[lambda: ask(yard, "POST", path, data)] * 4)
    assert [reply.status for reply in replies] == [201] * 4
    assert ask(yard, "GET", f"/v2/owner/m/blobs/{digest}").body == data
    assert list((yard.folder / "uploads").iterdir()) == []


def test_tags_that_race_end_at_one_of_the_images_and_all_are_there(yard: Yard) -> None:
    images = [image(yard, "owner/m", str(number)) for number in range(6)]
    calls = [lambda data=data: put_manifest(yard, "/v2/owner/m/manifests/latest", data) for data in images]
    assert {reply.status for reply in at_once(*calls)} == {201}
    assert ask(yard, "GET", "/v2/owner/m/manifests/latest").body == images_last(yard, images)
    for data in images:
        assert ask(yard, "GET", f"/v2/owner/m/manifests/{oci.digest_of(data)}").body == data


def images_last(yard: Yard, images: list[bytes]) -> bytes:
    """The image that the yard was told of last."""
    return next(data for data in images if oci.digest_of(data) == yard.arrivals[-1].digest)


def test_an_image_and_the_taking_away_of_its_layer_at_once_leave_no_hole(yard: Yard) -> None:
    for number in range(8):
        data = image(yard, "owner/m", f"race {number}")
        layer = oci.named(oci.parse(data))[1]
        pushed, gone = at_once(
            lambda data=data: put_manifest(yard, "/v2/owner/m/manifests/latest", data),
            lambda layer=layer: ask(yard, "DELETE", f"/v2/owner/m/blobs/{layer}"),
        )
        assert (pushed.status, gone.status) in ((201, 409), (404, 202))


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"schemaVersion":2,"config":' + b'{"a":' * 50_000,
        b'{"schemaVersion":2,"mediaType":5}',
        b'{"schemaVersion":2,"mediaType":["x"]}',
        b'{"schemaVersion":1}',
        b'{"schemaVersion":2,"config":{"mediaType":"x","digest":"sha256:..","size":1},"layers":[]}',
        b'{"schemaVersion":2,"mediaType":"' + MANIFEST.encode() + b'","config":null,"layers":[]}',
        b'{"schemaVersion":2,"annotations":{"a":"\\ud800"}}',
        b'{"schemaVersion":2,"size":' + b"9" * 5_000 + b"}",
        b"\xff\xfe\x00",
        b"\0" * 1000,
    ],
)
def test_manifests_that_are_broken_are_refused_with_a_sentence(yard: Yard, body: bytes) -> None:
    for kind in (MANIFEST, DOCKER_MANIFEST, INDEX, ""):
        reply = put_manifest(yard, "/v2/owner/m/manifests/latest", body, kind)
        assert (reply.status, reply.error["code"]) == (400, "MANIFEST_INVALID")
        assert reply.error["message"]


def test_a_manifest_of_very_many_layers_is_answered(yard: Yard) -> None:
    layer = {"mediaType": oci.LAYER_GZIP, "digest": "sha256:" + "0" * 64, "size": 1}
    layers = [layer | {"digest": f"sha256:{number:064x}"} for number in range(20_000)]
    body = json.dumps({"schemaVersion": 2, "config": layer, "layers": layers}).encode()
    reply = put_manifest(yard, "/v2/owner/m/manifests/latest", body)
    assert reply.error["code"] in ("MANIFEST_BLOB_UNKNOWN", "MANIFEST_INVALID")
    assert len(reply.error["message"]) < 2000


@pytest.mark.parametrize(
    "path",
    [
        "/v2/owner/%2e%2e/m/manifests/latest",
        "/v2/owner/m/manifests/..%2f..%2fetc",
        "/v2/owner%2fm%00/manifests/latest",
        "/v2/owner/m/manifests/%00",
        "/v2//owner/m/manifests/latest",
        "/v2/owner/m%5c/manifests/latest",
        "/v2/owner/m/blobs/uploads/..%2f..%2fyard.db",
        "/v2/owner/m/blobs/sha256:..%2f..%2fx",
        f"/v2/owner/{'m' * 300}/manifests/latest",
        "/v2/owner/m/manifests/" + "t" * 129,
    ],
)
def test_names_that_lead_elsewhere_are_refused(yard: Yard, path: str) -> None:
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        reply = ask(yard, method, path, b"{}" if method == "PUT" else b"")
        assert 400 <= reply.status < 500
        assert reply.error["code"]
    assert sorted(each.name for each in yard.folder.iterdir() if each.is_dir()) == ["blobs"]


def test_docker_asking_in_its_oldest_form_hears_the_first_refusal_again(yard: Yard) -> None:
    data = image(yard, "owner/m")
    yard.refuse = errors.Invalid("it is no model")
    first = put_manifest(yard, "/v2/owner/m/manifests/latest", data)
    again = put_manifest(yard, "/v2/owner/m/manifests/latest", b'{"schemaVersion": 1}')
    assert first.error["message"] == again.error["message"] == "it is no model"
    other = put_manifest(yard, "/v2/owner/m/manifests/other", b'{"schemaVersion": 1}')
    assert "schemaVersion: 2 is wanted" in other.error["message"]


@pytest.mark.parametrize("piece", ["x-y", "5-1", "-1-5", "99999999999999999999-2", "0-"])
def test_a_piece_that_says_nonsense_of_where_it_is_is_refused(yard: Yard, piece: str) -> None:
    where = ask(yard, "POST", "/v2/owner/m/blobs/uploads/").headers["location"]
    reply = ask(yard, "PATCH", where, b"12345", None, **{"Content-Range": piece})
    assert reply.status == 416
    assert ask(yard, "PUT", f"{where}?digest={oci.digest_of(b'')}").status == 201


def test_a_client_that_hangs_up_while_it_sends_a_manifest_leaves_nothing(yard: Yard) -> None:
    data = image(yard, "owner/m")
    with socket.create_connection(("127.0.0.1", yard.port)) as sock:
        lines = ("PUT /v2/owner/m/manifests/latest HTTP/1.1", "Host: x", f"Content-Length: {len(data)}")
        head = "\r\n".join((*lines, f"Authorization: {OWNER['Authorization']}", "", ""))
        sock.sendall(head.encode() + data[: len(data) // 2])
    assert ask(yard, "GET", "/v2/owner/m/manifests/latest").status == 404
    assert yard.arrivals == []


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Basic eA==", "Session x", "Bearer", "Digest x", "\xe9"])
def test_what_is_no_token_is_asked_for_one(yard: Yard, header: str) -> None:
    reply = ask(yard, "GET", "/v2/", headers={"Authorization": header})
    assert reply.status == 401
    assert reply.headers["www-authenticate"].startswith("Basic ")
