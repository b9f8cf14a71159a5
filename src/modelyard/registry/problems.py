"""What goes wrong at the registry, in the words and the shape that the distribution specification gives to errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar

from starlette.responses import Response

from modelyard import errors

CHALLENGE = 'Basic realm="modelyard"'


class RegistryError(errors.ModelyardError):
    """A refusal with one of the specification's codes. `headers` go with the reply."""

    status: ClassVar[int] = 400
    registry_code: ClassVar[str] = "UNSUPPORTED"

    def __init__(self, detail: str, headers: Mapping[str, str] | None = None, *, hint: str | None = None) -> None:
        super().__init__(detail, hint=hint)
        self.headers = dict(headers or {})


class BlobUnknownError(RegistryError):
    """This repository has no such blob."""

    status = 404
    registry_code = "BLOB_UNKNOWN"


class UploadUnknownError(RegistryError):
    """There is no such upload; it ended, or never began."""

    status = 404
    registry_code = "BLOB_UPLOAD_UNKNOWN"


class UploadInvalidError(RegistryError):
    """The bytes are not what was announced."""

    registry_code = "BLOB_UPLOAD_INVALID"


class RangeInvalidError(RegistryError):
    """A piece that does not begin where the one before it ended, or a range that is not there."""

    status = 416
    registry_code = "BLOB_UPLOAD_INVALID"


class DigestInvalidError(RegistryError):
    """The digest is malformed, or not the one of what came."""

    registry_code = "DIGEST_INVALID"


class SizeInvalidError(RegistryError):
    """Content is longer or shorter than the manifest says."""

    registry_code = "SIZE_INVALID"


class OriginError(RegistryError):
    """A layer is in another registry, and cannot be had there now."""

    status = 503
    registry_code = "UNAVAILABLE"


class ChangedError(errors.Conflict):
    """Another process changed the repository while this one looked at it."""


class InUseError(RegistryError):
    """What cannot go, since something that exists needs it."""

    status = 409
    registry_code = "DENIED"


class ManifestUnknownError(RegistryError):
    """This repository has no such manifest or tag."""

    status = 404
    registry_code = "MANIFEST_UNKNOWN"


class ManifestBlobUnknownError(RegistryError):
    """The manifest names content that this repository does not have."""

    status = 404
    registry_code = "MANIFEST_BLOB_UNKNOWN"


class NameInvalidError(RegistryError):
    """The path names no repository, tag or upload."""

    registry_code = "NAME_INVALID"


class NotSupportedError(RegistryError):
    """A method or a path that this registry does not have."""

    status = 405
    registry_code = "UNSUPPORTED"


_CODES = {
    401: "UNAUTHORIZED",
    403: "DENIED",
    404: "NAME_UNKNOWN",
    409: "DENIED",
    413: "SIZE_INVALID",
    422: "MANIFEST_INVALID",
    429: "TOOMANYREQUESTS",
    507: "DENIED",
}
# Of an answer of 500 and more docker reads no word: it tries again for a minute and then says the number.
_STATUSES = {507: 413}


def render(error: errors.ModelyardError) -> Response:
    """An error as a reply. What is no registry error keeps its status and gets the nearest code."""
    headers: dict[str, str] = {}
    detail: dict[str, object] = dict(error.extra)
    if error.hint:
        detail["hint"] = error.hint
    if isinstance(error, RegistryError):
        code = error.registry_code
        headers.update(error.headers)
    elif error.code == "manifest_invalid":
        code = "MANIFEST_INVALID"
    else:
        code = _CODES.get(error.status, error.code.upper())
    if error.status == 401:
        headers["WWW-Authenticate"] = CHALLENGE
    body = {"errors": [{"code": code, "message": error.detail, "detail": detail}]}
    return Response(json.dumps(body), _STATUSES.get(error.status, error.status), headers, "application/json")
