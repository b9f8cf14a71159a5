"""A bucket: how it is reached, and what its server's refusals mean to whoever set it up."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from obstore.exceptions import BaseError
from obstore.store import S3Store

from modelyard import errors

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

# A read may take as long as its reader wants, so only silence counts.
_CLIENT: ClientConfig = {"connect_timeout": "5s", "read_timeout": "5m", "timeout": "7d", "user_agent": "modelyard"}
_RETRY: RetryConfig = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
_CODE = re.compile(r"<Code>(\w+)</Code>")
_FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "EntityTooLarge"}
_REFUSED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}


class BucketError(errors.Unavailable, OSError):
    """The bucket does not answer, or refuses; also an OSError, as a disk's trouble is."""

    code = "bucket_unavailable"
    title = "The bucket cannot be used"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Which bucket, and how it is reached. `endpoint`: None is AWS; `in_path`: its name stands in the path.

    Without `key_id` the library looks for what the machine itself is given, such as a role.
    """

    name: str
    prefix: str = ""
    endpoint: str | None = None
    region: str = "us-east-1"
    in_path: bool = False
    key_id: str | None = None
    secret: str | None = None
    token: str | None = None

    @property
    def address(self) -> str:
        """How it is called in what people read."""
        return f"s3://{self.name}/{self.prefix}".rstrip("/") + (f" at {self.endpoint}" if self.endpoint else "")


def open_store(bucket: Bucket) -> S3Store:
    """Its objects, to be asked; nothing is asked yet."""
    endpoint, client = bucket.endpoint, _CLIENT
    if endpoint is not None:
        if not bucket.in_path:
            # The library takes the address of the bucket then.
            endpoint = endpoint.replace("://", f"://{bucket.name}.", 1)
        client = {**_CLIENT, "allow_http": endpoint.startswith("http://")}
    told = {
        "endpoint": endpoint,
        "region": bucket.region,
        "virtual_hosted_style_request": not bucket.in_path,
        "access_key_id": bucket.key_id,
        "secret_access_key": bucket.secret,
        "session_token": bucket.token,
    }
    config: S3Config = {name: value for name, value in told.items() if value is not None}  # type: ignore[assignment]
    return S3Store(bucket.name, prefix=bucket.prefix or None, config=config, client_options=client, retry_config=_RETRY)


@contextlib.contextmanager
def answering(bucket: Bucket) -> Iterator[None]:
    """Around what is asked of it: its failures as BucketError or OutOfSpace. FileNotFoundError stays."""
    try:
        yield
    except BaseError as error:
        raise _said(bucket, str(error)) from error
    except FileNotFoundError as error:
        if "<Code>NoSuchBucket</Code>" in str(error):
            raise _said(bucket, str(error)) from error
        raise


def _said(bucket: Bucket, text: str) -> errors.ModelyardError:
    """What the library says, for people: what the server calls it, and which setting it is about."""
    first = text.partition("\n\nDebug source")[0]
    code = found[1] if (found := _CODE.search(first)) else ""
    if code in _FULL:
        return errors.OutOfSpace(f"the bucket {bucket.address} takes no more: {code}")
    if code == "NoSuchBucket":
        where = bucket.endpoint or f"AWS in {bucket.region}"
        return BucketError(
            f"there is no bucket {bucket.name} at {where}.", hint="blobs names it: make it there, or name another one"
        )
    if code in _REFUSED or "403 Forbidden" in first or "401 Unauthorized" in first:
        return BucketError(
            f"the bucket {bucket.address} refuses this yard: {code or 'access denied'}.",
            hint=_hint(
                bucket,
                "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and s3_region: may they list, read, write and delete there?",
            ),
        )
    if code:
        return BucketError(f"the bucket {bucket.address} answered {code}.")
    return silent(bucket, " ".join(first.rpartition(" - ")[2].split())[:200] or "nobody answered")


def silent(bucket: Bucket, why: str) -> BucketError:
    """Nothing, or nothing that can be understood, came back."""
    hint = _hint(bucket, "s3_endpoint: is it its address, and does it answer from here?")
    return BucketError(f"the bucket {bucket.address} does not answer: {why}.", hint=hint)


def _hint(bucket: Bucket, otherwise: str) -> str:
    if bucket.key_id is None:
        return (
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set, and this machine was given no role that opens it"
        )
    return otherwise
