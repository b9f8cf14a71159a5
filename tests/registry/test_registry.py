"""The registry over real HTTP, as docker and other tools talk to it."""

from __future__ import annotations

import base64
import json
import os
import socket
from urllib.parse import urlsplit

import pytest
from registry_yard import Yard
from talking import OTHER, OWNER, ask, image, put_blob, put_manifest

from modelyard import errors
from modelyard.oci import manifest as oci
from modelyard.oci.manifest import CONFIG, INDEX, MANIFEST, Descriptor, Manifest

# -- who may


def test_without_a_token_the_reply_says_how_to_log_in(yard: Yard) -> None:
    reply = ask(yard, "GET", "/v2/", headers={})
    assert reply.status == 401
    assert reply.headers["www-authenticate"].startswith("Basic realm=")
    assert reply.headers["docker-distribution-api-version"] == "registry/2.0"
    assert reply.error["code"] == "UNAUTHORIZED"


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
def test_a_token_is_taken_as_bearer_or_as_the_password(yard: Yard, path: str) -> None:
    basic = "Basic " + base64.b64encode(b"anybody:owner-token").decode()
    assert ask(yard, "GET", path).status == 200
    assert ask(yard, "GET", path, headers={"Authorization": basic}).status == 200
    for bad in ("Basic !", "Basic " + base64.b64encode(b"owner-token").decode(), "Bearer x", "x"):
        assert ask(yard, "GET", path, headers={"Authorization": bad}).status == 401


def test_another_account_neither_sees_nor_changes_a_repository(yard: Yard) -> None:
    blob = put_blob(yard, "owner/m", b"secret")
    reply = ask(yard, "GET", f"/v2/owner/m/blobs/{blob.digest}", headers=OTHER)
    assert (reply.status, reply.error["code"]) == (404, "NAME_UNKNOWN")
    assert ask(yard, "POST", "/v2/owner/m/blobs/uploads/", headers=OTHER).status == 404
    reply = ask(yard, "POST", "/v2/public/m/blobs/uploads/")
    assert (reply.status, reply.error["code"]) == (403, "DENIED")


def test_a_blob_of_another_repository_is_not_here(yard: Yard) -> None:
    blob = put_blob(yard, "owner/m", b"data")
    reply = ask(yard, "HEAD", f"/v2/owner/n/blobs/{blob.digest}")
    assert reply.status == 404
    assert ask(yard, "GET", f"/v2/owner/n/blobs/{blob.digest}").error["code"] == "BLOB_UNKNOWN"


# -- blobs


def test_a_blob_comes_back_whole_and_in_ranges(yard: Yard) -> None:
    data = os.urandom(3 * 1024 * 1024 + 17)
    blob = put_blob(yard, "owner/m", data)
    path = f"/v2/owner/m/blobs/{blob.digest}"
    head = ask(yard, "HEAD", path)
    assert (head.status, head.headers["content-length"], head.body) == (200, str(len(data)), b"")
    whole = ask(yard, "GET", path)
    assert whole.body == data
    assert whole.headers["docker-content-digest"] == blob.digest
    assert ask(yard, "GET", path, Range="bytes=5-9").body == data[5:10]
    assert ask(yard, "GET", path, Range=f"bytes={len(data) - 3}-").body == data[-3:]
    last = ask(yard, "GET", path, Range="bytes=-7")
    assert (last.status, last.body) == (206, data[-7:])
    assert last.headers["content-range"] == f"bytes {len(data) - 7}-{len(data) - 1}/{len(data)}"
    assert ask(yard, "GET", path, Range="lines=1-2").body == data
    assert ask(yard, "GET", path, Range=f"bytes={len(data)}-").status == 416


def test_an_upload_in_pieces(yard: Yard) -> None:
    data = os.urandom(700_000)
    begun = ask(yard, "POST", "/v2/owner/m/blobs/uploads/")
    assert begun.status == 202
    where = begun.headers["location"]
    first = ask(yard, "PATCH", where, data[:300_000], None, **{"Content-Range": "0-299999"})
    assert (first.status, first.headers["range"]) == (202, "0-299999")
    # docker sends pieces without saying where they begin
    second = ask(yard, "PATCH", first.headers["location"], data[300_000:600_000])
    assert second.headers["range"] == "0-599999"
    assert ask(yard, "GET", where).headers["range"] == "0-599999"
    digest = oci.digest_of(data)
    last = ask(yard, "PUT", f"{where}?digest={digest}", data[600_000:], None, **{"Content-Range": "600000-699999"})
    assert last.status == 201
    assert ask(yard, "GET", last.headers["location"]).body == data
    assert ask(yard, "GET", where).error["code"] == "BLOB_UPLOAD_UNKNOWN"
    assert list((yard.folder / "uploads").iterdir()) == []


def test_an_empty_blob_can_be_uploaded(yard: Yard) -> None:
    where = ask(yard, "POST", "/v2/owner/m/blobs/uploads/").headers["location"]
    assert ask(yard, "PUT", f"{where}?digest={oci.digest_of(b'')}").status == 201


def test_a_piece_out_of_order_is_refused_with_how_far_the_upload_is(yard: Yard) -> None:
    where = ask(yard, "POST", "/v2/owner/m/blobs/uploads/").headers["location"]
    ask(yard, "PATCH", where, b"12345")
    reply = ask(yard, "PATCH", where, b"x", None, **{"Content-Range": "7-7"})
    assert (reply.status, reply.headers["range"]) == (416, "0-4")
    assert ask(yard, "PATCH", where, b"x", None, **{"Content-Range": "x"}).status == 416


def test_a_wrong_digest_leaves_nothing(yard: Yard) -> None:
    wrong = oci.digest_of(b"other")
    reply = ask(yard, "POST", f"/v2/owner/m/blobs/uploads/?digest={wrong}", b"data")
    assert (reply.status, reply.error["code"]) == (400, "DIGEST_INVALID")
    assert ask(yard, "HEAD", f"/v2/owner/m/blobs/{wrong}").status == 404
    assert list((yard.folder / "uploads").iterdir()) == []


@pytest.mark.parametrize("digest", ["x", "sha256:xyz", "sha512:" + "0" * 128, "sha256:" + "A" * 64])
def test_a_digest_that_is_none_is_refused(yard: Yard, digest: str) -> None:
    assert ask(yard, "POST", f"/v2/owner/m/blobs/uploads/?digest={digest}", b"d").error["code"] == "DIGEST_INVALID"
    assert ask(yard, "GET", f"/v2/owner/m/blobs/{digest}").error["code"] == "DIGEST_INVALID"


def test_an_upload_goes_on_after_the_yard_was_restarted(yard: Yard) -> None:
    data = os.urandom(100_000)
    where = ask(yard, "POST", "/v2/owner/m/blobs/uploads/").headers["location"]
    ask(yard, "PATCH", where, data[:60_000])
    yard.restart()
    assert ask(yard, "GET", where).headers["range"] == "0-59999"
    assert ask(yard, "PUT", f"{where}?digest={oci.digest_of(data)}", data[60_000:]).status == 201


def test_a_client_that_dies_in_the_middle_leaves_an_upload_that_goes_on(yard: Yard) -> None:
    data = os.urandom(2_000_000)
    where = ask(yard, "POST", "/v2/owner/m/blobs/uploads/").headers["location"]
    with socket.create_connection(("127.0.0.1", yard.port)) as sock:
        lines = (f"PATCH {where} HTTP/1.1", "Host: x", *(f"{key}: {value}" for key, value in OWNER.items()))
        head = "\r\n".join((*lines, f"Content-Length: {len(data)}", "", ""))
        sock.sendall(head.encode() + data[:900_000])
    came = 0
    for _ in range(200):
        came = int(ask(yard, "GET", where).headers["range"].rpartition("-")[2]) + 1
        reply = ask(yard, "PATCH", where, b"", None, **{"Content-Range": f"{came}-{came}"})
        if came > 1 and reply.status == 202:
            break
    assert 1 < came <= 900_000
    assert ask(yard, "PUT", f"{where}?digest={oci.digest_of(data)}", data[came:]).status == 201


def test_an_upload_belongs_to_its_repository(yard: Yard) -> None:
    where = ask(yard, "POST", "/v2/owner/m/blobs/uploads/").headers["location"]
    upload = where.rpartition("/")[2]
    assert ask(yard, "PATCH", f"/v2/owner/n/blobs/uploads/{upload}", b"x").status == 404
    assert ask(yard, "DELETE", where).status == 204
    assert ask(yard, "GET", where).status == 404


@pytest.mark.parametrize("upload", ["..", "%2e%2e%2fx", "x", "a" * 26])
def test_an_upload_that_never_was_is_unknown(yard: Yard, upload: str) -> None:
    assert ask(yard, "PATCH", f"/v2/owner/m/blobs/uploads/{upload}", b"x").status in (400, 404)


def test_a_blob_is_taken_over_from_another_repository(yard: Yard) -> None:
    blob = put_blob(yard, "owner/m", b"shared")
    reply = ask(yard, "POST", f"/v2/owner/n/blobs/uploads/?mount={blob.digest}&from=owner/m")
    assert reply.status == 201
    assert ask(yard, "GET", reply.headers["location"]).body == b"shared"
    # what one may not read cannot be taken over: then an upload begins
    put_blob(yard, "owner/private", b"mine")
    digest = oci.digest_of(b"mine")
    stolen = ask(yard, "POST", f"/v2/other/n/blobs/uploads/?mount={digest}&from=owner/private", headers=OTHER)
    assert stolen.status == 202
    assert ask(yard, "HEAD", f"/v2/other/n/blobs/{digest}", headers=OTHER).status == 404


# -- manifests


def test_a_manifest_is_kept_by_tag_and_digest_and_told_of(yard: Yard) -> None:
    data = image(yard, "owner/m", "one")
    reply = put_manifest(yard, "/v2/owner/m/manifests/latest", data)
    assert (reply.status, reply.headers["docker-content-digest"]) == (201, oci.digest_of(data))
    for reference in ("latest", oci.digest_of(data)):
        found = ask(yard, "GET", f"/v2/owner/m/manifests/{reference}")
        assert (found.body, found.headers["content-type"]) == (data, MANIFEST)
        head = ask(yard, "HEAD", f"/v2/owner/m/manifests/{reference}")
        assert (head.status, head.headers["content-length"], head.body) == (200, str(len(data)), b"")
    (arrival,) = yard.arrivals
    assert (arrival.repository, arrival.reference, arrival.digest) == ("owner/m", "latest", oci.digest_of(data))
    assert arrival.actor.account.username == "owner"
    assert oci.parse_config(arrival.config_blob).labels == {"text": "one"}


def test_a_tag_moves_and_the_older_manifest_stays(yard: Yard) -> None:
    one, two = image(yard, "owner/m", "one"), image(yard, "owner/m", "two")
    put_manifest(yard, "/v2/owner/m/manifests/latest", one)
    put_manifest(yard, "/v2/owner/m/manifests/latest", two)
    assert ask(yard, "GET", "/v2/owner/m/manifests/latest").body == two
    assert ask(yard, "GET", f"/v2/owner/m/manifests/{oci.digest_of(one)}").body == one


def test_a_refused_manifest_is_not_kept(yard: Yard) -> None:
    data = image(yard, "owner/m")
    yard.refuse = errors.Invalid("it has no schema", hint="use yard push")
    reply = put_manifest(yard, "/v2/owner/m/manifests/latest", data)
    assert reply.status == 422
    assert reply.error["message"] == "it has no schema"
    assert reply.error["detail"]["hint"] == "use yard push"
    assert ask(yard, "GET", "/v2/owner/m/manifests/latest").error["code"] == "MANIFEST_UNKNOWN"
    assert ask(yard, "GET", f"/v2/owner/m/manifests/{oci.digest_of(data)}").status == 404


def test_a_manifest_whose_layers_are_not_here_is_refused_by_their_digests(yard: Yard) -> None:
    data = image(yard, "owner/m")
    reply = put_manifest(yard, "/v2/owner/n/manifests/latest", data)
    assert (reply.status, reply.error["code"]) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert "sha256:" in reply.error["message"]
    assert yard.arrivals == []


def test_an_index_names_manifests_that_are_here(yard: Yard) -> None:
    data = image(yard, "owner/m")
    part = {"mediaType": MANIFEST, "digest": oci.digest_of(data), "size": len(data)}
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [part]}).encode()
    assert put_manifest(yard, "/v2/owner/m/manifests/all", index, INDEX).status == 404
    put_manifest(yard, f"/v2/owner/m/manifests/{oci.digest_of(data)}", data)
    assert put_manifest(yard, "/v2/owner/m/manifests/all", index, INDEX).status == 201
    assert ask(yard, "GET", "/v2/owner/m/manifests/all").headers["content-type"] == INDEX
    assert len(yard.arrivals) == 1


def test_weights_are_kept_by_tag_and_digest_and_make_no_version(yard: Yard) -> None:
    config, layer = put_blob(yard, "owner/m", b'{"name":"w"}'), put_blob(yard, "owner/m", b"bytes")
    weights = Manifest(
        config=Descriptor(
            media_type="application/vnd.cog.weight.config.v1+json", digest=config.digest, size=config.size
        ),
        layers=(layer,),
        annotations={"run.cog.weight.name": "w"},
        artifact_type="application/vnd.cog.weight.v1",
    )
    data = oci.render(weights)
    tag = f"cog-weight.w.{oci.digest_of(data)[7:19]}"
    assert put_manifest(yard, f"/v2/owner/m/manifests/{tag}", data).status == 201
    assert yard.arrivals == []
    for reference in (tag, oci.digest_of(data)):
        found = ask(yard, "GET", f"/v2/owner/m/manifests/{reference}")
        assert (found.body, found.headers["content-type"]) == (data, MANIFEST)


def test_an_index_of_an_image_and_weights_is_kept(yard: Yard) -> None:
    picture = image(yard, "owner/m")
    config = put_blob(yard, "owner/m", b"{}")
    weights = oci.render(Manifest(config=config, layers=(), artifact_type="application/vnd.cog.weight.v1"))
    parts = []
    for data, kind in ((picture, ""), (weights, "application/vnd.cog.weight.v1")):
        put_manifest(yard, f"/v2/owner/m/manifests/{oci.digest_of(data)}", data)
        platform = {"os": "unknown", "architecture": "unknown"} if kind else {"os": "linux", "architecture": "amd64"}
        part = {"mediaType": MANIFEST, "digest": oci.digest_of(data), "size": len(data), "platform": platform}
        parts.append(part | ({"artifactType": kind, "annotations": {"run.cog.weight.name": "w"}} if kind else {}))
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": parts}).encode()
    assert put_manifest(yard, "/v2/owner/m/manifests/v1", index, INDEX).status == 201
    assert ask(yard, "GET", "/v2/owner/m/manifests/v1").body == index


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"schemaVersion":2,"config":5}'])
def test_what_is_no_manifest_is_refused(yard: Yard, body: bytes) -> None:
    reply = put_manifest(yard, "/v2/owner/m/manifests/latest", body)
    assert (reply.status, reply.error["code"]) == (400, "MANIFEST_INVALID")


def test_a_manifest_sent_under_another_digest_is_refused(yard: Yard) -> None:
    data = image(yard, "owner/m")
    path = f"/v2/owner/m/manifests/{oci.digest_of(b'other')}"
    assert put_manifest(yard, path, data).error["code"] == "DIGEST_INVALID"
    assert put_manifest(yard, "/v2/owner/m/manifests/-bad", data).error["code"] == "NAME_INVALID"


def test_a_manifest_that_is_too_long_is_refused(yard: Yard) -> None:
    reply = put_manifest(yard, "/v2/owner/m/manifests/latest", b" " * (4 * 1024 * 1024 + 1))
    assert (reply.status, reply.error["code"]) == (413, "SIZE_INVALID")


def test_tags_are_listed_by_name_in_pages(yard: Yard) -> None:
    data = image(yard, "owner/m")
    for tag in ("b", "a", "c"):
        put_manifest(yard, f"/v2/owner/m/manifests/{tag}", data)
    assert json.loads(ask(yard, "GET", "/v2/owner/m/tags/list").body) == {"name": "owner/m", "tags": ["a", "b", "c"]}
    page = ask(yard, "GET", "/v2/owner/m/tags/list?n=2")
    assert json.loads(page.body)["tags"] == ["a", "b"]
    after = page.headers["link"].partition(">")[0].removeprefix("<")
    assert json.loads(ask(yard, "GET", after).body)["tags"] == ["c"]
    assert ask(yard, "GET", "/v2/owner/m/tags/list?n=x").status == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/Owner/m/tags/list", 400),
        ("GET", "/v2/owner/../x/tags/list", 400),
        ("GET", "/v2/owner/m/nothing", 400),
        ("DELETE", "/v2/owner/m/tags/list", 405),
        ("POST", "/v2/", 405),
        ("GET", "/v2/owner/m/manifests/none", 404),
    ],
)
def test_what_is_not_there_is_an_error_in_the_specifications_shape(
    yard: Yard, method: str, path: str, status: int
) -> None:
    reply = ask(yard, method, path)
    assert reply.status == status
    assert reply.error["message"]


def test_addresses_in_replies_hold_behind_any_proxy(yard: Yard) -> None:
    where = ask(yard, "POST", "/v2/owner/m/blobs/uploads/").headers["location"]
    assert urlsplit(where).netloc == ""
    assert where.startswith("/v2/owner/m/blobs/uploads/")


def test_what_a_push_relies_on_is_known_before_it_is_looked_up(yard: Yard) -> None:
    asked, sent, mounted = (oci.digest_of(data) for data in (b"asked for", b"sent", b"mounted"))
    read_only = oci.digest_of(b"only read")
    manifest = oci.render(Manifest(config=Descriptor(media_type=CONFIG, digest=asked, size=1), layers=()))

    ask(yard, "HEAD", f"/v2/owner/a/blobs/{asked}")
    ask(yard, "GET", f"/v2/owner/a/blobs/{read_only}")
    put_blob(yard, "owner/a", b"sent")
    ask(yard, "POST", f"/v2/owner/b/blobs/uploads/?mount={mounted}&from=owner/a")
    refused = ask(yard, "PUT", "/v2/owner/a/manifests/latest", manifest)

    assert refused.error["code"] == "MANIFEST_BLOB_UNKNOWN"
    for digest in (asked, sent, mounted, oci.digest_of(manifest)):
        assert yard.uses.used(oci.blob_key(digest), 0.0)
    assert not yard.uses.used(oci.blob_key(read_only), 0.0)
