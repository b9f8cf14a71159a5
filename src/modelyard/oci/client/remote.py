"""A repository of any registry that speaks OCI Distribution: a yard's, Docker's, anybody's.

Small blobs go in one request. Large ones go piece by piece: when the connection breaks, the registry is asked how far
it came, and the rest is sent. Blobs come into a file, and go on from where an earlier attempt ended. A registry may
send for a token first; who knows of one beforehand (a yard's login) says so at once.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from modelyard import errors
from modelyard.errors import ModelyardError, Unavailable
from modelyard.oci.client import credentials, reference, tokens, web
from modelyard.oci.client.door import Door, RegistryError
from modelyard.oci.client.web import Reply
from modelyard.oci.manifest import DOCKER_INDEX, DOCKER_MANIFEST, INDEX, MANIFEST, WrongDigestError, digest_of

# What is larger is sent in pieces of this size, unless somebody says another; and no more of one is held in memory.
PIECE_BYTES = 32 * 1024 * 1024
# What a yard says with a layer that it knows and would get from the repository of this name when it is wanted.
ELSEWHERE = "modelyard-elsewhere"
_MAKES_PIECES = "oci-chunk-min-length"
_TAKES_PIECES = "oci-chunk-max-length"
_SIZE = re.compile(r"[0-9]{1,18}")
_ACCEPT = ", ".join((MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX))
_FOUND = (200, 201, 202, 204)

Chunks = Callable[[int], Iterator[bytes]]


class Stored(NamedTuple):
    """A manifest as the registry has it."""

    data: bytes
    media_type: str
    digest: str


class Repository:
    """One repository, over connections of its own. Not for several threads at once: each takes a `twin`."""

    def __init__(
        self,
        door: Door,
        path: str,
        *,
        client: web.Client | None = None,
        piece_bytes: int = PIECE_BYTES,
        whole_bytes: int | None = None,
        wait: web.Wait = time.sleep,
        attempts: int = web.ATTEMPTS,
    ) -> None:
        """`whole_bytes`: what has no more goes in one piece; by default, of the size of any."""
        self._attempts = attempts
        self._door = door
        self._path = path
        self._client = client or web.Client()
        # A yard's API is asked without a proxy, too.
        self._client.direct = door.is_yard
        self._piece_bytes = piece_bytes
        self._whole_bytes = piece_bytes if whole_bytes is None else whole_bytes
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
        client = web.Client(timeout_seconds=self._client.timeout_seconds, may_connect=self._client.may_connect)
        return Repository(
            self._door,
            self._path,
            client=client,
            piece_bytes=self._piece_bytes,
            whole_bytes=self._whole_bytes,
            wait=self._wait,
            attempts=self._attempts,
        )

    # -- blobs

    def has(self, digest: str, *, here: bool = False) -> bool:
        """Does the repository have this blob? `here`: its bytes, and not the knowledge alone of where they are."""
        answer = self._ask("HEAD", f"blobs/{digest}", f"look for {digest[:19]}…", expected=(200, 404))
        return answer.status == 200 and not (here and ELSEWHERE in answer.headers)

    def size(self, digest: str) -> int | None:
        """How many bytes this blob has; None where the repository has none or does not say."""
        answer = self._ask("HEAD", f"blobs/{digest}", f"look for {digest[:19]}…", expected=(200, 404))
        told = answer.headers.get("content-length", "")
        return int(told) if answer.status == 200 and _SIZE.fullmatch(told) else None

    def mount(self, digest: str, origin: str, *, here: bool = False) -> bool:
        """Take this blob over from another repository of the registry; False where that has none. `here`: as for
        `has`."""
        path = f"blobs/uploads/?mount={digest}&from={quote(origin, safe='/:')}"
        answer = self._ask("POST", path, f"take over {digest[:19]}…", b"")
        return answer.status == 201 and not (here and ELSEWHERE in answer.headers)

    def send_bytes(self, digest: str, data: bytes) -> None:
        """Send a small blob."""
        self.send(digest, len(data), lambda offset: iter((data[offset:],)))

    def send(self, digest: str, size: int, chunks: Chunks, progress: Callable[[int], None] = lambda _: None) -> None:
        """Send a blob; `chunks(offset)` gives its bytes from there on. `progress` is told of bytes as they arrive."""
        doing = f"take {digest[:19]}…"
        if size <= min(self._whole_bytes, PIECE_BYTES):
            data = b"".join(chunks(0))
            if self._door.is_yard:
                # Others may want two requests, and would have the bytes sent twice.
                self._ask("POST", f"blobs/uploads/?digest={digest}", doing, data)
            else:
                self._finish(self._begin(doing)[0], digest, data, doing)
            progress(size)
            return
        location, headers = self._begin(doing)
        piece = _piece(size if size <= self._whole_bytes else self._piece_bytes, headers)
        offset = failures = 0
        while offset < size:
            try:
                if failures:
                    location, came = self._reached(location, doing)
                    progress(came - offset)
                    offset = came
                end = min(offset + piece, size)
                if offset < end:
                    location = self._send_piece(location, chunks(offset), offset, end, doing)
            except (*web.BROKEN, Unavailable, errors.TooMany, RegistryError) as error:
                if isinstance(error, RegistryError) and not failures:
                    raise
                # After a break it may refuse for a moment what it will take: it has not seen the break yet.
                failures += 1
                if failures >= self._attempts:
                    if isinstance(error, ModelyardError):
                        raise
                    raise self._door.unreachable(error) from None
                progress(0)  # whoever wants no more says so here
                self._door.told(error if isinstance(error, ModelyardError) else self._door.unreachable(error))
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
                    raise _refusal(self._door, reply, doing)
            return reply

        found = web.download(
            ask,
            into,
            url=self._door.url,
            progress=progress,
            wait=self._wait,
            attempts=self._attempts,
            told=self._door.told,
        )
        if found != digest:
            into.unlink(missing_ok=True)
            raise WrongDigestError(
                f"{self.name}: the digest of what came is {found}, wanted: {digest}",
                hint="the registry or something on the way changed it; try again",
            )

    def check_push(self) -> None:
        """Raises what a push would be refused with, by beginning an upload that is dropped again."""
        location, _ = self._begin("take what is sent")
        # Whoever cannot drop one forgets it by itself.
        with (
            contextlib.suppress(ModelyardError, *web.BROKEN),
            self._open("DELETE", location, {}, None, "drop an upload") as reply,
        ):
            reply.read()

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

    def _begin(self, doing: str) -> tuple[str, Mapping[str, str]]:
        answer = self._ask("POST", "blobs/uploads/", doing, b"")
        return self._location(answer.headers, ""), answer.headers

    def _send_piece(self, location: str, chunks: Iterator[bytes], start: int, end: int, doing: str) -> str:
        headers = {
            "Content-Length": str(end - start),
            "Content-Range": f"{start}-{end - 1}",
            "Content-Type": "application/octet-stream",
        }
        said = self._said(location, headers)
        with self._client.open("PATCH", location, said, _cut(chunks, end - start)) as reply:
            if reply.status == 401 and self._challenged(reply, "PATCH", said):
                raise web.CutOffError("the token has run out")
            if reply.status not in _FOUND:
                raise _refusal(self._door, reply, doing)
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
        where = web.address(self._door.url, told)
        if not where:
            raise RegistryError(f"{self._door.registry} says to send to {told!r}, which is no address")
        parts, base = urlsplit(where), urlsplit(self._door.url)
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
                    raise _refusal(self._door, reply, doing)
                return _Answer(reply.status, reply.headers, reply.read())

        door = self._door
        return web.again(
            once, url=door.url, wait=self._wait, attempts=self._attempts, away=door.unreachable, told=door.told
        )

    def _open(self, method: str, path: str, headers: dict[str, str], body: bytes | None, doing: str) -> Reply:
        url = path if "://" in path else f"{self._door.url}/v2/{self._path}/{path}"
        said = self._said(url, headers)
        reply = self._client.open(method, url, said, body)
        if reply.status != 401:
            return reply
        with reply:
            payload = reply.read()
        if not self._challenged(reply, method, said):
            raise self._door.refusal(401, payload, doing)
        return self._client.open(method, url, self._said(url, headers), body)

    def _said(self, url: str, headers: Mapping[str, str]) -> dict[str, str]:
        """With who asks; a place outside the registry that it sends to does not learn that."""
        return {**(self._door.header(self._path, self._client) if self._door.is_own(url) else {}), **headers}

    def _challenged(self, reply: Reply, method: str, said: Mapping[str, str]) -> bool:
        """Is there more to say of who asks? Places outside the registry get no answer to that."""
        wanted = reply.headers.get("www-authenticate", "")
        return self._door.is_own(reply.url) and self._door.challenged(
            wanted, method, self._path, said.get("Authorization"), self._client
        )


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    payload: bytes


def open_repository(
    wanted: reference.Reference,
    find: credentials.Find,
    *,
    timeout_seconds: float = web.TIMEOUT_SECONDS,
    patient: bool = True,
    piece_bytes: int = PIECE_BYTES,
    whole_bytes: int | None = None,
    attempts: int = web.ATTEMPTS,
    client: web.Client | None = None,
    told: web.Told = lambda _: None,
) -> Repository:
    """The repository that a reference names. `find` says who one is there; who is not `patient` tries again at once;
    `client`: over this, else over one of its own that waits for `timeout_seconds`; `told` hears why an attempt failed,
    before the next one."""
    client = client or web.Client(timeout_seconds=timeout_seconds)
    wait: web.Wait = time.sleep if patient else lambda _: None
    door = Door(wanted.registry, find, client, told=told)
    return Repository(
        door,
        wanted.path,
        client=client,
        wait=wait,
        piece_bytes=piece_bytes,
        whole_bytes=whole_bytes,
        attempts=attempts,
    )


def _refusal(door: Door, reply: Reply, doing: str) -> ModelyardError:
    try:
        payload = reply.read()
    except web.BROKEN:
        payload = b""
    if reply.status == 401 and tokens.is_short(reply.headers.get("www-authenticate", "")):
        return door.too_little(payload, doing)
    return door.refusal(reply.status, payload, doing, retry_after=reply.headers.get("retry-after", ""))


def _piece(wanted: int, headers: Mapping[str, str]) -> int:
    """How many bytes go at a time, where the registry may say the least and the most."""
    least, most = _bytes(headers, _MAKES_PIECES), _bytes(headers, _TAKES_PIECES)
    return max(least, min(wanted, most or wanted))


def _bytes(headers: Mapping[str, str], name: str) -> int:
    told = headers.get(name, "")
    return int(told) if _SIZE.fullmatch(told) else 0


def _with(location: str, digest: str) -> str:
    return f"{location}{'&' if urlsplit(location).query else '?'}digest={digest}"


def _cut(chunks: Iterator[bytes], length: int) -> Iterator[bytes]:
    for chunk in chunks:
        if length <= 0:
            return
        yield chunk[:length]
        length -= len(chunk)
