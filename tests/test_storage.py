"""Which store a yard has, by its settings and by the variables that AWS gave their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard import settings, storage
from modelyard.blobs.bucket import Bucket
from modelyard.blobs.disk import DiskBlobs
from modelyard.blobs.s3 import S3Blobs
from modelyard.errors import UsageError

KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}


def bucket(folder: Path, flags: dict[str, object], **environ: str) -> Bucket:
    found, _ = settings.load({"data": str(folder), **flags}, {}, folder)
    blobs = storage.open_blobs(found, environ)
    assert isinstance(blobs, S3Blobs)
    return blobs.bucket


def test_blobs_are_on_the_disk_when_nobody_says_otherwise(tmp_path: Path) -> None:
    found, _ = settings.load({"data": str(tmp_path)}, {}, tmp_path)
    assert isinstance(storage.open_blobs(found, KEYS), DiskBlobs)


def test_without_an_endpoint_it_is_aws_with_the_bucket_in_the_name_of_its_host(tmp_path: Path) -> None:
    found = bucket(tmp_path, {"blobs": "s3://mine/a/b"}, AWS_REGION="eu-central-1", AWS_SESSION_TOKEN="once", **KEYS)
    assert found == Bucket(
        name="mine", prefix="a/b", region="eu-central-1", key_id="id", secret="secret", token="once", in_path=False
    )
    assert found.address == "s3://mine/a/b"


def test_an_endpoint_has_the_bucket_in_the_path_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    flags: dict[str, object] = {"blobs": "s3://mine", "s3_endpoint": "http://s3.lan:8080/", "s3_region": "here"}
    found = bucket(tmp_path, flags, AWS_REGION="elsewhere", AWS_ENDPOINT_URL="http://elsewhere", **KEYS)
    assert (found.endpoint, found.region, found.in_path) == ("http://s3.lan:8080", "here", True)
    assert not bucket(tmp_path, {**flags, "s3_style": "host"}, **KEYS).in_path
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        assert bucket(tmp_path, {"blobs": "s3://mine"}, **{name: "http://s3.lan"}).endpoint == "http://s3.lan"


@pytest.mark.parametrize("missing", sorted(KEYS))
def test_half_of_what_opens_a_bucket_is_refused(tmp_path: Path, missing: str) -> None:
    with pytest.raises(UsageError, match=f" is set and {missing} is not"):
        bucket(tmp_path, {"blobs": "s3://mine"}, **{name: value for name, value in KEYS.items() if name != missing})
