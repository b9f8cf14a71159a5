"""A repository of any registry that speaks OCI Distribution: a yard's, Docker's, anybody's.

Small blobs go in one request. Large ones go piece by piece: when the connection breaks, the registry is asked how far
it came, and the rest is sent. Blobs come into a file, and go on from where an earlier attempt ended. A registry may
send for a token first; who knows of one beforehand (a yard's login) says so at once.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit

from modelyard import errors
from modelyard.errors import ModelyardError, Unavailable
from modelyard.oci.manifest import DOCKER_INDEX, DOCKER_MANIFEST, INDEX, MANIFEST, digest_of
from modelyard.weights import credentials, reference, web
from modelyard.weights.cache import WrongDigestError
from modelyard.weights.credentials import Access
from modelyard.weights.web import Reply

# What is smaller than this is sent in one request; larger content in pieces of this size.
PIECE_BYTES = 32 * 1024 * 1024
_MAKES_PIECES = "oci-chunk-min-length"
_ACCEPT = ", ".join((MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX))
_FOUND = (200, 201, 202, 204)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')

Chunks = Callable[[int], Iterator[bytes]]


class RegistryError(ModelyardError):
    """The registry said no."""

    code = "registry_refused"
    title = "The registry refused"


class Stored(NamedTuple):
    """A manifest as the registry has it."""

    data: bytes
    media_type: str
    digest: str


class Door:
    """The way into one registry: its address and who asks, which all connections to it share."""

    def __init__(self, registry: str, find: credentials.Find, client: web.Client) -> None:
        self.registry = registry
        self._find = find
        self._guard = threading.Lock()
        self._tokens: dict[str, str] = {}
        self._access: Access | None = None
        self._may_say_who = True
        self.url = self._address(client)

    @property
    def is_yard(self) -> bool:
        """Is it known beforehand where it is, and by which token?"""
        return self._access is not None and bool(self._access.url)

    def _address(self, client: web.Client) -> str:
        self._access = self._find(self.registry)
        if self._access is not None and self._access.url:
            return self._access.url
        return f"http://{self.registry}" if reference.is_local(self.registry) else self._tried(client)

    def _tried(self, client: web.Client) -> str:
        """HTTPS; plain HTTP where only that is spoken, and then nobody's name and password are sent."""
        secure = f"https://{self.registry}"
        try:
            with client.open("GET", f"{secure}/v2/"):
                return secure
        except ssl.SSLCertVerificationError as error:
            raise web.unreachable(secure, error) from None
        except ssl.SSLError:
            self._access, self._may_say_who = None, False
            return f"http://{self.registry}"
        except web.BROKEN:
            return secure  # it may answer in a moment; each request tries again

    def header(self, path: str) -> dict[str, str]:
        """What is said of who asks, before anybody wants to know."""
        with self._guard:
            said = self._tokens.get(path)
        if said is None and self._access is not None and self._access.token:
            said = f"Bearer {self._access.token}"
        return {} if said is None else {"Authorization": said}

    def challenged(self, header: str, path: str, client: web.Client) -> bool:
        """Get what a registry wants that answered 401 with this header; False: there is no more to say."""
        scheme, _, rest = header.partition(" ")
        access = self._access
        if scheme.lower() == "bearer":
            found = self._token(dict(_PARAMETER.findall(rest)), f"repository:{path}:pull,push", client)
        elif scheme.lower() == "basic" and access is not None and access.username:
            found = access.basic
        else:
            return False
        with self._guard:
            if self._tokens.get(path) == found:
                return False
            self._tokens[path] = found
        return True

    def _token(self, wanted: Mapping[str, str], scope: str, client: web.Client) -> str:
        realm = urljoin(self.url, wanted.get("realm", ""))
        asked = {"service": wanted.get("service", ""), "scope": wanted.get("scope") or scope}
        access = self._access
        if access is not None and access.identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": access.identity_token, "client_id": "modelyard"}
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            reply = client.open("POST", realm, headers, urlencode({**asked, **form}).encode())
        else:
            headers = {"Authorization": access.basic} if access is not None and access.username else {}
            reply = client.open("GET", f"{realm}{'&' if '?' in realm else '?'}{urlencode(asked)}", headers)
        with reply:
            payload = reply.read()
        if reply.status != 200:
            raise self.refusal(reply.status, payload, "get a token")
        try:
            found = json.loads(payload)
            token = found.get("token") or found["access_token"]
        except (ValueError, KeyError, AttributeError):
            raise RegistryError(f"{realm} answers with no token") from None
        return f"Bearer {token}"

    def refusal(self, status: int, payload: bytes, doing: str, *, retry_after: str = "") -> ModelyardError:
        """The error for what the registry said."""
        said, hint = _said(payload)
        why = f": {said}" if said else ""
        if status == 401:
            shown = "wants you to log in" if self._access is None else "does not accept your login"
            return errors.Unauthenticated(f"{self.registry} {shown} to {doing}{why}", hint=self._log_in())
        if status == 403:
            return errors.Forbidden(f"{self.registry} does not let you {doing}{why}", hint=hint)
        if status == 404:
            return errors.NotFound(f"{self.registry} cannot {doing}, it is not there{why}", hint=hint)
        if status == 429:
            seconds = int(retry_after) if retry_after.isdecimal() else 1
            return errors.TooMany(f"{self.registry} is asked too often{why}", max(1, seconds), hint="try again later")
        if status >= 500:
            return Unavailable(f"{self.registry} could not {doing}, status {status}{why}", hint="try again in a moment")
        return RegistryError(f"{self.registry} does not {doing}, status {status}{why}", hint=hint)

    def _log_in(self) -> str:
        if not self._may_say_who:
            return "it speaks plain HTTP, and no password is sent so; give it a certificate"
        return f"`docker login {self.registry}`; where it is a yard: `yard login {self.url}`"


class Repository:
    """One repository, over connections of its own. Not for several threads at once: each takes a `twin`."""

    def __init__(
        self,
        door: Door,
        path: str,
        *,
        client: web.Client | None = None,
        piece_bytes: int = PIECE_BYTES,
        wait: web.Wait = time.sleep,
    ) -> None:
        self._door = door
        self._path = path
        self._client = client or web.Client()
        self._piece_bytes = piece_bytes
        self._wait = wait

    def __enter__(self) -> Repository:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    @property
    def name(self) -> str:
        """`HOST/owner/name`."""
        return f"{self._door.registry}/{self._path}"

    def twin(self) -> Repository:
        """The same repository for another thread."""
        return Repository(self._door, self._path, piece_bytes=self._piece_bytes, wait=self._wait)

    # -- blobs

    def has(self, digest: str) -> bool:
        """Does the repository have this blob?"""
        return self._ask("HEAD", f"blobs/{digest}", f"look for {digest[:19]}…", expected=(200, 404)).status == 200

    def send_bytes(self, digest: str, data: bytes) -> None:
        """Send a small blob."""
        self.send(digest, len(data), lambda offset: iter((data[offset:],)))

    def send(self, digest: str, size: int, chunks: Chunks, progress: Callable[[int], None] = lambda _: None) -> None:
        """Send a blob; `chunks(offset)` gives its bytes from there on. `progress` is told of bytes as they arrive."""
        doing = f"take {digest[:19]}…"
        if size <= self._piece_bytes:
            data = b"".join(chunks(0))
            self._finish(self._begin(doing)[0], digest, data, doing)
            progress(size)
            return
        location, least = self._begin(doing)
        piece, offset, failures = max(self._piece_bytes, least), 0, 0
        while offset < size:
            try:
                if failures:
                    location, came = self._reached(location, doing)
                    progress(came - offset)
                    offset = came
                end = min(offset + piece, size)
                if offset < end:
                    location = self._send_piece(location, chunks(offset), offset, end, doing)
            except (*web.BROKEN, Unavailable, errors.TooMany) as error:
                failures += 1
                if failures >= web.ATTEMPTS:
                    raise error if isinstance(error, ModelyardError) else self._given_up(error) from None
                self._wait(0.2 * 2**failures)
            else:
                failures = 0
                progress(end - offset)
                offset = end
        self._finish(location, digest, b"", doing)

    def fetch(self, digest: str, into: Path, progress: Callable[[int], None] = lambda _: None) -> None:
        """Bring a blob to `into`, going on from what an earlier attempt left there.

        Raises WrongDigestError, with nothing left, where the bytes are not those that the digest says; NotFound where
        the repository has none.
        """
        doing = f"give {digest[:19]}…"

        def ask(headers: Mapping[str, str]) -> Reply:
            reply = self._open("GET", f"blobs/{digest}", dict(headers), None, doing)
            if reply.status not in (200, 206, 416):
                with reply:
                    raise self._refusal(reply, doing)
            return reply

        found = web.download(ask, into, url=self._door.url, progress=progress, wait=self._wait)
        if found != digest:
            into.unlink(missing_ok=True)
            raise WrongDigestError(
                f"{self.name}: the digest of what came is {found}, wanted: {digest}",
                hint="the registry or something on the way changed it; try again",
            )

    # -- manifests

    def manifest(self, reference: str) -> Stored | None:
        """A manifest by tag or digest; None where there is none. Raises WrongDigestError."""
        doing = f"give the manifest {reference}"
        reply = self._ask("GET", f"manifests/{reference}", doing, headers={"Accept": _ACCEPT}, expected=(200, 404))
        if reply.status == 404:
            return None
        digest = digest_of(reply.payload)
        if ":" in reference and digest != reference:
            raise WrongDigestError(f"{self.name}: the digest of the manifest is {digest}, wanted: {reference}")
        return Stored(reply.payload, reply.headers.get("content-type", ""), digest)

    def has_manifest(self, reference: str) -> bool:
        """Is there a manifest of this tag or digest?"""
        headers, doing = {"Accept": _ACCEPT}, f"look for the manifest {reference}"
        return self._ask("HEAD", f"manifests/{reference}", doing, headers=headers, expected=(200, 404)).status == 200

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> None:
        """Let the repository have this manifest, as `reference` (a tag or its digest)."""
        self._ask(
            "PUT",
            f"manifests/{reference}",
            f"take the manifest {reference}",
            data,
            headers={"Content-Type": media_type},
        )

    # -- pieces

    def _begin(self, doing: str) -> tuple[str, int]:
        answer = self._ask("POST", "blobs/uploads/", doing, b"")
        least = answer.headers.get(_MAKES_PIECES, "")
        return self._location(answer.headers, ""), int(least) if least.isdecimal() else 0

    def _send_piece(self, location: str, chunks: Iterator[bytes], start: int, end: int, doing: str) -> str:
        headers = {
            "Content-Length": str(end - start),
            "Content-Range": f"{start}-{end - 1}",
            "Content-Type": "application/octet-stream",
        }
        with self._client.open("PATCH", location, self._said(location, headers), _cut(chunks, end - start)) as reply:
            if reply.status == 401 and self._challenged(reply):
                raise web.CutOffError("the token has run out")
            if reply.status not in _FOUND:
                raise self._refusal(reply, doing)
            reply.read()
        return self._location(reply.headers, location)

    def _finish(self, location: str, digest: str, data: bytes, doing: str) -> None:
        try:
            self._ask("PUT", _with(location, digest), doing, data)
        except errors.NotFound:
            # Its answer to an earlier attempt was lost, and the upload is no more.
            if not self.has(digest):
                raise

    def _reached(self, location: str, doing: str) -> tuple[str, int]:
        """How far the registry came; it begins to count at 0, so `0-0` may also mean that it has nothing."""
        answer = self._ask("GET", location, doing)
        last = answer.headers.get("range", "0-0").rpartition("-")[2]
        offset = int(last) + 1 if last.isdecimal() and last != "0" else 0
        return self._location(answer.headers, location), offset

    def _location(self, headers: Mapping[str, str], before: str) -> str:
        told = headers.get("location")
        if not told:
            if not before:
                raise RegistryError(f"{self._door.registry} does not say where to send to")
            return before
        parts, base = urlsplit(urljoin(self._door.url, told)), urlsplit(self._door.url)
        if self._door.is_yard or parts.hostname == base.hostname:
            # Behind a proxy, a registry may call itself by a scheme, a port or a name that nobody here has.
            parts = parts._replace(scheme=base.scheme, netloc=base.netloc)
        return parts.geturl()

    # -- requests

    def _ask(
        self,
        method: str,
        path: str,
        doing: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        expected: tuple[int, ...] = _FOUND,
    ) -> _Answer:
        """A request whose body can be sent again, in several attempts."""

        def once() -> _Answer:
            with self._open(method, path, dict(headers or {}), body, doing) as reply:
                if reply.status not in expected:
                    raise self._refusal(reply, doing)
                return _Answer(reply.status, reply.headers, reply.read())

        return web.again(once, url=self._door.url, wait=self._wait)

    def _open(self, method: str, path: str, headers: dict[str, str], body: bytes | None, doing: str) -> Reply:
        url = path if "://" in path else f"{self._door.url}/v2/{self._path}/{path}"
        reply = self._client.open(method, url, self._said(url, headers), body)
        if reply.status != 401:
            return reply
        with reply:
            payload = reply.read()
        if not self._challenged(reply):
            raise self._door.refusal(401, payload, doing)
        return self._client.open(method, url, self._said(url, headers), body)

    def _said(self, url: str, headers: Mapping[str, str]) -> dict[str, str]:
        """With who asks; a place outside the registry that it sends to does not learn that."""
        own = urlsplit(url).netloc == urlsplit(self._door.url).netloc
        return {**(self._door.header(self._path) if own else {}), **headers}

    def _challenged(self, reply: Reply) -> bool:
        return self._door.challenged(reply.headers.get("www-authenticate", ""), self._path, self._client)

    def _refusal(self, reply: Reply, doing: str) -> ModelyardError:
        try:
            payload = reply.read()
        except web.BROKEN:
            payload = b""
        wanted = reply.headers.get("retry-after", "")
        return self._door.refusal(reply.status, payload, doing, retry_after=wanted)

    def _given_up(self, error: BaseException) -> Unavailable:
        return web.unreachable(self._door.url, error)


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    payload: bytes


def open_repository(
    wanted: reference.Reference, find: credentials.Find, *, timeout_seconds: float = web.TIMEOUT_SECONDS
) -> Repository:
    """The repository that a reference names. `find` says who one is there."""
    client = web.Client(timeout_seconds=timeout_seconds)
    return Repository(Door(wanted.registry, find, client), wanted.path, client=client)


def _with(location: str, digest: str) -> str:
    return f"{location}{'&' if urlsplit(location).query else '?'}digest={digest}"


def _cut(chunks: Iterator[bytes], length: int) -> Iterator[bytes]:
    for chunk in chunks:
        if length <= 0:
            return
        yield chunk[:length]
        length -= len(chunk)


def _said(payload: bytes) -> tuple[str, str | None]:
    """The first message of a registry's errors, and the hint of a yard's."""
    try:
        first = json.loads(payload)["errors"][0]
        said, detail = str(first.get("message") or first.get("code") or ""), first.get("detail")
    except (ValueError, LookupError, TypeError, AttributeError):
        return payload[:200].decode("utf-8", "replace").strip(), None
    hint = detail.get("hint") if isinstance(detail, dict) else None
    return said, hint if isinstance(hint, str) else None
