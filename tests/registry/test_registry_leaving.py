"""What leaves a registry, and what may not: tags, manifests, blobs; and what has companions."""

from __future__ import annotations

import json

from registry_yard import Yard
from talking import OTHER, ask, image, put_blob, put_manifest

from modelyard import errors
from modelyard.oci import manifest as oci
from modelyard.oci.manifest import INDEX, MANIFEST, Descriptor, Manifest

KIND = "application/vnd.example.signature"


def pushed(yard: Yard, tag: str = "latest", text: str = "one") -> tuple[bytes, str]:
    data = image(yard, "owner/m", text)
    assert put_manifest(yard, f"/v2/owner/m/manifests/{tag}", data).status == 201
    return data, oci.digest_of(data)


def companion(yard: Yard, subject: bytes, content: bytes, kind: str = KIND) -> bytes:
    config, layer = put_blob(yard, "owner/m", b"{}"), put_blob(yard, "owner/m", content)
    return oci.render(
        Manifest(
            config=Descriptor(media_type="application/vnd.oci.empty.v1+json", digest=config.digest, size=2),
            layers=(layer,),
            annotations={"made": "by hand"},
            artifact_type=kind,
            subject=Descriptor(media_type=MANIFEST, digest=oci.digest_of(subject), size=len(subject)),
        )
    )


def test_a_tag_goes_and_its_image_stays(yard: Yard) -> None:
    data, digest = pushed(yard)
    assert ask(yard, "DELETE", "/v2/owner/m/manifests/latest").status == 202
    assert ask(yard, "GET", "/v2/owner/m/manifests/latest").error["code"] == "MANIFEST_UNKNOWN"
    assert ask(yard, "GET", f"/v2/owner/m/manifests/{digest}").body == data
    assert ask(yard, "DELETE", "/v2/owner/m/manifests/latest").status == 404


def test_a_manifest_goes_with_its_tags(yard: Yard) -> None:
    _, digest = pushed(yard, "one")
    assert ask(yard, "DELETE", f"/v2/owner/m/manifests/{digest}").status == 202
    assert ask(yard, "GET", f"/v2/owner/m/manifests/{digest}").status == 404
    assert json.loads(ask(yard, "GET", "/v2/owner/m/tags/list").body)["tags"] == []


def test_what_somebody_needs_stays_and_the_reply_says_who(yard: Yard) -> None:
    _, digest = pushed(yard)
    yard.keep = errors.Conflict("it is a version")
    refused = ask(yard, "DELETE", f"/v2/owner/m/manifests/{digest}")
    assert (refused.status, refused.error["code"], refused.error["message"]) == (409, "DENIED", "it is a version")
    assert ask(yard, "HEAD", f"/v2/owner/m/manifests/{digest}").status == 200


def test_a_blob_that_an_image_names_stays_and_another_one_goes(yard: Yard) -> None:
    data, digest = pushed(yard)
    needed = oci.named(oci.parse(data))[1]
    refused = ask(yard, "DELETE", f"/v2/owner/m/blobs/{needed}")
    assert (refused.status, refused.error["code"]) == (409, "DENIED")
    assert digest in refused.error["message"]
    spare = put_blob(yard, "owner/m", b"spare").digest
    put_blob(yard, "owner/n", b"spare")
    assert ask(yard, "DELETE", f"/v2/owner/m/blobs/{spare}").status == 202
    assert ask(yard, "HEAD", f"/v2/owner/m/blobs/{spare}").status == 404
    assert ask(yard, "GET", f"/v2/owner/n/blobs/{spare}").body == b"spare"
    assert ask(yard, "DELETE", f"/v2/owner/m/blobs/{spare}").error["code"] == "BLOB_UNKNOWN"


def test_an_image_of_an_index_stays_while_the_index_does(yard: Yard) -> None:
    data, digest = pushed(yard)
    part = {"mediaType": MANIFEST, "digest": digest, "size": len(data)}
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [part]}).encode()
    put_manifest(yard, "/v2/owner/m/manifests/all", index, INDEX)
    assert ask(yard, "DELETE", f"/v2/owner/m/manifests/{digest}").status == 409
    assert ask(yard, "DELETE", f"/v2/owner/m/manifests/{oci.digest_of(index)}").status == 202
    assert ask(yard, "DELETE", f"/v2/owner/m/manifests/{digest}").status == 202


def test_only_the_owner_takes_away(yard: Yard) -> None:
    _, digest = pushed(yard)
    for path in ("manifests/latest", f"manifests/{digest}", f"blobs/{digest}"):
        assert ask(yard, "DELETE", f"/v2/owner/m/{path}", headers=OTHER).status == 404
    assert ask(yard, "DELETE", "/v2/public/m/manifests/latest").status == 403


def test_companions_of_an_image_are_listed_by_their_kind(yard: Yard) -> None:
    data, digest = pushed(yard)
    empty = ask(yard, "GET", f"/v2/owner/m/referrers/{digest}")
    assert (empty.status, empty.headers["content-type"]) == (200, INDEX)
    assert json.loads(empty.body)["manifests"] == []

    one, other = companion(yard, data, b"one"), companion(yard, data, b"two", "application/vnd.example.list")
    for each in (one, other):
        reply = put_manifest(yard, f"/v2/owner/m/manifests/{oci.digest_of(each)}", each)
        assert reply.headers["oci-subject"] == digest
    assert len(json.loads(ask(yard, "GET", f"/v2/owner/m/referrers/{digest}").body)["manifests"]) == 2
    found = ask(yard, "GET", f"/v2/owner/m/referrers/{digest}?artifactType={KIND}")
    assert found.headers["oci-filters-applied"] == "artifactType"
    assert json.loads(found.body)["manifests"] == [
        {
            "mediaType": MANIFEST,
            "digest": oci.digest_of(one),
            "size": len(one),
            "artifactType": KIND,
            "annotations": {"made": "by hand"},
        }
    ]
    assert len(yard.arrivals) == 1


def test_a_companion_may_come_before_its_image(yard: Yard) -> None:
    data = image(yard, "owner/m", "later")
    one = companion(yard, data, b"one")
    assert put_manifest(yard, f"/v2/owner/m/manifests/{oci.digest_of(one)}", one).status == 201
    listed = json.loads(ask(yard, "GET", f"/v2/owner/m/referrers/{oci.digest_of(data)}").body)
    assert [each["digest"] for each in listed["manifests"]] == [oci.digest_of(one)]


def test_whatever_can_be_read_can_be_asked_for_without_its_body(yard: Yard) -> None:
    data, digest = pushed(yard)
    where = ask(yard, "POST", "/v2/owner/m/blobs/uploads/").headers["location"]
    layer = oci.named(oci.parse(data))[1]
    paths = ("manifests/latest", f"manifests/{digest}", f"blobs/{layer}", "tags/list", f"referrers/{digest}")
    for path in ("/v2/", where, *(f"/v2/owner/m/{path}" for path in paths)):
        got, asked = ask(yard, "GET", path), ask(yard, "HEAD", path)
        assert (asked.status, asked.body) == (got.status, b"")
        assert asked.headers.get("content-length") == got.headers.get("content-length")
        assert asked.headers.get("content-type") == got.headers.get("content-type")
