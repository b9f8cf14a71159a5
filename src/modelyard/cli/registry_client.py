"""A yard's registry as a command needs it: is it there, send it, name it. Standard library only, one kept connection.

Small things go in one request. Large ones go piece by piece: when the connection breaks, the registry is asked how far
it came, and the rest is sent.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from urllib.parse import urlsplit

from modelyard.cli import client
from modelyard.cli.client import Login
from modelyard.errors import Forbidden, ModelyardError, TooMany, Unauthenticated, Unavailable
from modelyard.oci.layers import Layer

# What is smaller than this is sent in one request; larger content in pieces of this size.
PIECE_BYTES = 32 * 1024 * 1024
_ATTEMPTS = 5
_TIMEOUT_SECONDS = 120.0
_FOUND = (200, 201, 202, 204)
# It may be another moment that suits: asked again.
_BUSY = (429, 500, 502, 503, 504)
_MOST_WAIT_SECONDS = 60.0

Body = bytes | Iterator[bytes]


class PushError(ModelyardError):
    """The registry did not take what was sent."""

    code = "push_failed"
    title = "The push failed"


class Registry:
    """One repository of a yard's registry, over one connection. Not for several threads at once."""

    def __init__(self, login: Login, repository: str, piece_bytes: int = PIECE_BYTES) -> None:
        self._login = login
        self._path = f"/v2/{repository}"
        self._piece_bytes = piece_bytes
        self._connection: http.client.HTTPConnection | None = None
        self._prefix = ""

    def __enter__(self) -> Registry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._disconnect()

    def has(self, digest: str) -> bool:
        """Does the repository have this blob?"""
        status, _, _ = self._ask("HEAD", f"{self._path}/blobs/{digest}", expected=(200, 404))
        return status == 200

    def mount(self, digest: str, origin: str) -> bool:
        """Take this blob over from another repository of the registry; False where that has none."""
        status, _, _ = self._ask("POST", f"{self._path}/blobs/uploads/?mount={digest}&from={origin}", b"")
        return status == 201

    def send_bytes(self, digest: str, data: bytes) -> None:
        """Send a small blob."""
        self._ask("POST", f"{self._path}/blobs/uploads/?digest={digest}", data)

    def send(self, layer: Layer, progress: Callable[[int], None]) -> None:
        """Send a layer; `progress` is told how many of its bytes arrived since it was told last."""
        descriptor = layer.descriptor
        if descriptor.size <= self._piece_bytes:
            self.send_bytes(descriptor.digest, b"".join(layer.chunks()))
            progress(descriptor.size)
            return
        location, offset, failures = self._begin(), 0, 0
        while offset < descriptor.size:
            try:
                if failures:
                    told, offset = offset, self._offset(location)
                    progress(offset - told)
                end = self._send_piece(location, layer, offset)
            except (OSError, http.client.HTTPException, Unavailable, TooMany) as error:
                failures += 1
                if failures >= _ATTEMPTS:
                    raise self._given_up(error) from None
                time.sleep(0.2 * failures)
            else:
                failures = 0
                progress(end - offset)
                offset = end
        self._ask("PUT", f"{location}?digest={descriptor.digest}", b"")

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> None:
        """Let the repository have this manifest, as `reference` (a tag or its digest)."""
        self._ask("PUT", f"{self._path}/manifests/{reference}", data, {"Content-Type": media_type})

    # -- pieces

    def _begin(self) -> str:
        _, headers, _ = self._ask("POST", f"{self._path}/blobs/uploads/", b"")
        path = urlsplit(headers.get("location", "")).path
        # Behind a public address with a path, the reply may have that path in front, which every request gets anyway.
        return path.removeprefix(self._prefix) if path.startswith(f"{self._prefix}/v2/") else path

    def _send_piece(self, location: str, layer: Layer, offset: int) -> int:
        end = min(offset + self._piece_bytes, layer.descriptor.size)
        headers = {
            "Content-Length": str(end - offset),
            "Content-Range": f"{offset}-{end - 1}",
            "Content-Type": "application/octet-stream",
        }
        status, _, payload = self._request("PATCH", location, _cut(layer.chunks(offset), end - offset), headers)
        if status not in _FOUND:
            raise _refusal(self._login, status, payload)
        return end

    def _given_up(self, error: Exception) -> ModelyardError:
        return error if isinstance(error, ModelyardError) else client.unreachable(self._login.url, error)

    def _offset(self, location: str) -> int:
        """How far the registry came; it begins to count at 0, so `0-0` may also mean that it has nothing."""
        _, headers, _ = self._ask("GET", location)
        last = headers.get("range", "0-0").rpartition("-")[2]
        return int(last) + 1 if last.isdecimal() and last != "0" else 0

    # -- requests

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        expected: tuple[int, ...] = _FOUND,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """A request whose body can be sent again: once more on a new connection when the kept one was closed."""
        for attempt in range(_ATTEMPTS):
            fresh = self._connection is None
            try:
                status, found, payload = self._request(method, path, body, headers)
            except (OSError, http.client.HTTPException) as error:
                # Who hangs up may listen again in a moment; where nobody listens, nobody is waited for.
                if fresh and (attempt == _ATTEMPTS - 1 or isinstance(error, ConnectionRefusedError | TimeoutError)):
                    raise client.unreachable(self._login.url, error) from None
                continue
            if status not in _BUSY or attempt == _ATTEMPTS - 1:
                break
            time.sleep(_pause(attempt, found.get("retry-after", "")))
        if status not in expected:
            raise _refusal(self._login, status, payload)
        return status, found, payload

    def _request(
        self, method: str, path: str, body: Body | None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        connection = self._connect()
        all_headers = {"Authorization": f"Bearer {self._login.required_token}", **(headers or {})}
        try:
            connection.request(method, self._prefix + path, body, all_headers)
            response = connection.getresponse()
            payload = response.read()
        except BaseException:
            self._disconnect()
            raise
        return response.status, {key.lower(): value for key, value in response.getheaders()}, payload

    def _connect(self) -> http.client.HTTPConnection:
        if self._connection is None:
            self._connection, self._prefix = connection_to(self._login.url)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def connection_to(url: str) -> tuple[http.client.HTTPConnection, str]:
    """A connection, not yet opened, to the host of `url`, and what paths there begin with."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        secure = ssl.create_default_context()
        return http.client.HTTPSConnection(host, parts.port, timeout=_TIMEOUT_SECONDS, context=secure), parts.path
    return http.client.HTTPConnection(host, parts.port, timeout=_TIMEOUT_SECONDS), parts.path


def _cut(chunks: Iterator[bytes], length: int) -> Iterator[bytes]:
    for chunk in chunks:
        if length <= 0:
            return
        yield chunk[:length]
        length -= len(chunk)


_REFUSALS = {
    403: "{url} does not let you push, status 403",
    404: "{url} does not take it: it is not there, status 404",
    429: "{url} is asked too often, status 429",
}


def _pause(attempt: int, told: str) -> float:
    """How long a busy registry is left alone; it may have said so itself."""
    wanted: float = 0.2 * 2**attempt
    return min(max(wanted, float(told) if told.isdecimal() else 0.0), _MOST_WAIT_SECONDS)


def _refusal(login: Login, status: int, payload: bytes) -> ModelyardError:
    """The error for what the registry said, in the specification's shape."""
    try:
        first = json.loads(payload)["errors"][0]
        said, detail = str(first["message"]), first.get("detail")
    except (ValueError, LookupError, TypeError):
        if status == 401:
            return client.refusal(login, status, payload)
        said, detail = _REFUSALS.get(status, f"what answers at {{url}} is no registry: status {status}"), None
        said = said.format(url=login.url)
    hint = detail.get("hint") if isinstance(detail, dict) else None
    if status == 401:
        return Unauthenticated(
            f"{login.url} does not accept the token: {said}", hint=hint or "log in with `yard login`"
        )
    if status == 403:
        return Forbidden(said, hint=hint)
    if status in (500, 502, 503, 504):
        return Unavailable(f"{login.url} is not ready: {said}", hint=hint or "try again in a moment")
    if status == 429:
        return TooMany(said, 1, hint=hint or "try again later")
    return PushError(said, hint=hint)
