"""Where a yard keeps its blobs, by its settings: on its disk, or in a bucket, to which they move from there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelyard import errors
from modelyard.amounts import size_text
from modelyard.blobs.base import Blobs
from modelyard.blobs.disk import DiskBlobs, names
from modelyard.settings import Settings

if TYPE_CHECKING:
    from modelyard.blobs.s3 import S3Blobs


def open_blobs(found: Settings, environ: Mapping[str, str]) -> Blobs:
    """The blobs of these settings. Raises UsageError."""
    if found.blobs == "disk":
        return DiskBlobs(found.data / "blobs")
    return _in_bucket(found, environ)


async def open_for(owner: str, found: Settings, environ: Mapping[str, str], report: Callable[[str], None]) -> Blobs:
    """The blobs of a yard that starts, which `owner` tells from others. What lies on the disk of one that was told of
    a bucket since moves there. Raises UsageError, Conflict, BucketError."""
    blobs = open_blobs(found, environ)
    blobs.discard_unfinished()
    if found.blobs != "disk":
        bucket: S3Blobs = blobs  # type: ignore[assignment]
        await bucket.claim(owner)
        await _move(found.data / "blobs", bucket, report)
    return blobs


async def _move(folder: Path, target: S3Blobs, report: Callable[[str], None]) -> None:
    """Move every blob off the disk. Each is there or here at any moment; what was killed goes on where it was."""
    origin = DiskBlobs(folder)
    origin.discard_unfinished()
    blobs = await origin.list(*names(folder))
    if not blobs:
        return
    report(f"Moving {len(blobs):,} blobs, {size_text(sum(blob.size for blob in blobs))}, to {target.bucket.address}")
    for number, blob in enumerate(blobs, 1):
        path = origin.path(blob.key)
        if path is not None:
            await target.put(blob.key, path, move=True)
        # Its file is gone; what stays are folders that have become empty.
        await origin.delete(blob.key)
        if number % 1000 == 0:
            report(f"Moved {number:,} of {len(blobs):,} blobs")
    report(f"Moved {len(blobs):,} blobs")


def _in_bucket(found: Settings, environ: Mapping[str, str]) -> S3Blobs:
    try:
        # Only where it is wanted: the library is an extra.
        from modelyard.blobs.bucket import Bucket
        from modelyard.blobs.s3 import S3Blobs
    except ModuleNotFoundError as error:
        if error.name != "obstore":
            raise
        raise errors.UsageError(
            f"blobs is {found.blobs}, which needs obstore, and that is not installed.",
            hint="pip install 'modelyard[s3]'",
        ) from None
    key_id, secret = environ.get("AWS_ACCESS_KEY_ID") or None, environ.get("AWS_SECRET_ACCESS_KEY") or None
    if (key_id is None) is not (secret is None):
        given, missing = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")[:: 1 if secret is None else -1]
        raise errors.UsageError(f"{given} is set and {missing} is not.", hint=f"blobs is {found.blobs}: it needs both")
    place = urlsplit(found.blobs)
    endpoint = found.s3_endpoint or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or None
    bucket = Bucket(
        name=place.netloc,
        prefix=place.path.strip("/"),
        endpoint=None if endpoint is None else endpoint.rstrip("/"),
        region=found.s3_region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        in_path=found.s3_style == "path" or (found.s3_style == "auto" and endpoint is not None),
        key_id=key_id,
        secret=secret,
        token=environ.get("AWS_SESSION_TOKEN") or None,
    )
    return S3Blobs(bucket, found.data / "s3")
