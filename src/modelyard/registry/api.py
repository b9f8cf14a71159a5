"""The registry's routes below `/v2/`: what pushing and pulling need of the OCI distribution specification 1.1.

A repository is a path of names, so routes are told apart by a pattern over the whole path rather than by a router.
Addresses in replies begin with the yard's public address where it has one; else they are relative, and hold behind any
proxy.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from modelyard import errors
from modelyard.accounts import Actor
from modelyard.blobs.base import Blobs
from modelyard.db.base import Database
from modelyard.oci import manifest as oci
from modelyard.oci.manifest import Index, Manifest
from modelyard.oci.names import PART
from modelyard.registry import problems
from modelyard.registry.repositories import Repositories, StoredManifest
from modelyard.registry.uploads import Uploads
from modelyard.uses import Uses

log = logging.getLogger(__name__)

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_CONFIG_BYTES = 16 * 1024 * 1024
MAX_TAGS = 1000
# How long a push may rely on a blob that it was told is here, before its manifest says what it is for.
PUSH_SECONDS = 24 * 3600.0

_NAME = rf"(?P<name>{PART}(?:/{PART})*)"
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_BYTES = re.compile(r"bytes=(\d*)-(\d*)")
_PIECE = re.compile(r"(?:bytes )?(\d+)-(\d+)")

Authenticate = Callable[[bytes], Awaitable[Actor]]
May = Callable[[Actor, str], Awaitable[bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An image manifest that came and is about to be kept. `reference`: the tag or digest it was sent under."""

    actor: Actor
    repository: str
    reference: str
    digest: str
    manifest: Manifest
    config_blob: bytes


OnManifest = Callable[[Arrival], Awaitable[None]]
Handler = Callable[[Request, Actor, dict[str, str]], Awaitable[Response]]


def make_routes(
    *,
    blobs: Blobs,
    db: Database,
    uploads: Uploads,
    authenticate: Authenticate,
    may_read: May,
    may_write: May,
    on_manifest: OnManifest,
    clock: Callable[[], int],
    uses: Uses | None = None,
    public_url: str | None = None,
) -> list[BaseRoute]:
    """The registry as routes for an application.

    `authenticate` turns an `Authorization` header into an actor and raises Unauthenticated. `on_manifest` is called
    when an image's manifest and all that it names are here, before the repository has it; it refuses by raising a
    ModelyardError. `uploads`: what is on its way; `clock`: microseconds since 1970; `uses` is told of the blobs that
    somebody who pushes asks for or names.
    """
    registry = Registry(Repositories(db, clock), blobs, uploads, authenticate, on_manifest)
    if uses is not None:
        registry.uses = uses
    registry.may_read, registry.may_write = may_read, may_write
    registry.public_url = (public_url or "").rstrip("/")
    return [Route("/v2", registry), Route("/v2/{rest:path}", registry)]


class Registry:
    """One ASGI application for everything below `/v2/`."""

    may_read: May
    may_write: May
    public_url: str = ""

    def __init__(
        self,
        repositories: Repositories,
        blobs: Blobs,
        uploads: Uploads,
        authenticate: Authenticate,
        on_manifest: OnManifest,
    ) -> None:
        self._repositories = repositories
        self._blobs = blobs
        self._uploads = uploads
        self._authenticate = authenticate
        self._on_manifest = on_manifest
        self.uses = Uses(PUSH_SECONDS)
        self._routes: list[tuple[re.Pattern[str], dict[str, Handler]]] = [
            (re.compile("/v2/?"), {"GET": self.get_root}),
            (
                re.compile(rf"/v2/{_NAME}/blobs/uploads/?"),
                {"POST": self.post_upload},
            ),
            (
                re.compile(rf"/v2/{_NAME}/blobs/uploads/(?P<upload>[^/]+)"),
                {
                    "GET": self.get_upload,
                    "PATCH": self.patch_upload,
                    "PUT": self.put_upload,
                    "DELETE": self.delete_upload,
                },
            ),
            (re.compile(rf"/v2/{_NAME}/blobs/(?P<digest>[^/]+)"), {"GET": self.get_blob, "HEAD": self.get_blob}),
            (
                re.compile(rf"/v2/{_NAME}/manifests/(?P<reference>[^/]+)"),
                {"GET": self.get_manifest, "HEAD": self.get_manifest, "PUT": self.put_manifest},
            ),
            (re.compile(rf"/v2/{_NAME}/tags/list"), {"GET": self.get_tags}),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except errors.ModelyardError as error:
            response = problems.render(error)
        except ClientDisconnect:
            return
        except Exception:  # the door: what went wrong inside is ours to know and nobody's to read
            log.exception("the registry failed at %s %s", request.method, request.url.path)
            response = problems.render(errors.ModelyardError())
        response.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
        if self.public_url:
            for name, before in (("Location", ""), ("Link", "<")):
                if response.headers.get(name, "").startswith(f"{before}/v2/"):
                    response.headers[name] = before + self.public_url + response.headers[name].removeprefix(before)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        actor = await self._authenticate(bearer(request.headers.get("authorization", "")))
        path = request.url.path
        for pattern, handlers in self._routes:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            handler = handlers.get(request.method)
            if handler is None:
                raise problems.NotSupportedError(
                    f"{request.method} is not possible here", {"Allow": ", ".join(handlers)}
                )
            names = match.groupdict()
            if "name" in names:
                await self._check(actor, names["name"], request.method)
            return await handler(request, actor, names)
        raise problems.NameInvalidError(f"{path!r} names nothing of a registry")

    async def _check(self, actor: Actor, repository: str, method: str) -> None:
        if not await self.may_read(actor, repository) and not await self.may_write(actor, repository):
            who = actor.account.username
            hint = f"This token is {who}'s, who pushes to names such as {who}/{repository.rpartition('/')[2]}."
            raise errors.NotFound(f"There is no repository {repository} that this token may see.", hint=hint)
        if method not in ("GET", "HEAD") and not await self.may_write(actor, repository):
            raise errors.Forbidden(f"This token may not push to {repository}.")

    async def get_root(self, request: Request, actor: Actor, names: dict[str, str]) -> Response:
        """Says that this is a registry and that the caller may use it."""
        return Response("{}", media_type="application/json")

    # -- blobs

    async def get_blob(self, request: Request, actor: Actor, names: dict[str, str]) -> Response:
        """A blob, or a range of it."""
        digest = _digest(names["digest"])
        if request.method == "HEAD":
            # Whoever pushes asks what need not be sent, and relies on the answer.
            await self.uses.using(oci.blob_key(digest))
        size = await self._repositories.blob_size(names["name"], digest)
        if size is None:
            raise problems.BlobUnknownError(f"{names['name']} has no blob {digest}")
        headers = {"Docker-Content-Digest": digest, "Accept-Ranges": "bytes", "ETag": f'"{digest}"'}
        start, end, status = _range(request.headers.get("range"), size)
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        headers["Content-Length"] = str(end - start)
        if request.method == "HEAD":
            return Response(None, 200, {**headers, "Content-Length": str(size)}, "application/octet-stream")
        chunks = await self._blobs.open(oci.blob_key(digest), start, end)
        return StreamingResponse(chunks, status, headers, "application/octet-stream")

    async def post_upload(self, request: Request, actor: Actor, names: dict[str, str]) -> Response:
        """Begin an upload; or do all of it, when `digest` comes with the body; or take a blob over by `mount`."""
        repository = names["name"]
        mount, digest = request.query_params.get("mount"), request.query_params.get("digest")
        if mount is not None and await self._mount(actor, _digest(mount), request.query_params.get("from"), repository):
            return _made(repository, _digest(mount))
        if digest is not None:
            upload = self._uploads.begin(repository)
            return await self._take(request, repository, upload, _digest(digest))
        return _progress(repository, self._uploads.begin(repository), 0)

    async def get_upload(self, request: Request, actor: Actor, names: dict[str, str]) -> Response:
        """How far an upload has come, for whoever was cut off."""
        size = self._uploads.size(names["name"], names["upload"])
        return _progress(names["name"], names["upload"], size, status=204)

    async def patch_upload(self, request: Request, actor: Actor, names: dict[str, str]) -> Response:
        """The next piece of an upload."""
        start = _piece_start(request.headers.get("content-range"))
        size = await self._uploads.append(names["name"], names["upload"], request.stream(), start)
        return _progress(names["name"], names["upload"], size)

    async def put_upload(self, request: Request, actor: Actor, names: dict[str, str]) -> Response:
        """The last piece, maybe empty, and the digest of the whole."""
        digest = request.query_params.get("digest")
        if digest is None:
            raise problems.DigestInvalidError("the parameter `digest` is wanted at the end of an upload")
        return await self._take(request, names["name"], names["upload"], _digest(digest))

    async def delete_upload(self, request: Request, actor: Actor, names: dict[str, str]) -> Response:
        """Give an upload up."""
        self._uploads.size(names["name"], names["upload"])
        self._uploads.drop(names["upload"])
        return Response(status_code=204)

    async def _take(self, request: Request, repository: str, upload: str, digest: str) -> Response:
        start = _piece_start(request.headers.get("content-range"))
        size = await self._uploads.append(repository, upload, request.stream(), start)
        path = await self._uploads.finish(repository, upload, digest)
        await self.uses.using(oci.blob_key(digest))
        if await self._blobs.stat(oci.blob_key(digest)) is None:
            await self._blobs.put(oci.blob_key(digest), path, move=True)
        self._uploads.drop(upload)
        await self._repositories.add_blob(repository, digest, size)
        return _made(repository, digest)

    async def _mount(self, actor: Actor, digest: str, origin: str | None, repository: str) -> bool:
        if not origin or not await self.may_read(actor, origin):
            return False
        await self.uses.using(oci.blob_key(digest))
        size = await self._repositories.blob_size(origin, digest)
        if size is None:
            return False
        await self._repositories.add_blob(repository, digest, size)
        return True

    # -- manifests

    async def get_manifest(self, request: Request, actor: Actor, names: dict[str, str]) -> Response:
        """A manifest by tag or digest."""
        found = await self._stored(names["name"], names["reference"])
        headers = {
            "Docker-Content-Digest": found.digest,
            "ETag": f'"{found.digest}"',
            "Content-Length": str(found.size),
        }
        if request.method == "HEAD":
            return Response(None, 200, headers, found.media_type)
        return Response(await self._bytes(found.blob_key), 200, headers, found.media_type)

    async def put_manifest(self, request: Request, actor: Actor, names: dict[str, str]) -> Response:
        """Keep a manifest, once everything that it names is here and `on_manifest` has no objection.

        An artifact that is no image (weights, say) is not what a version is made of: nobody is asked about it.
        """
        repository, reference = names["name"], names["reference"]
        data = await _body(request, MAX_MANIFEST_BYTES)
        digest = oci.digest_of(data)
        by_digest = ":" in reference
        if by_digest and _digest(reference) != digest:
            raise problems.DigestInvalidError(f"the digest of what came is {digest}, announced was {reference}")
        if not by_digest and _TAG.fullmatch(reference) is None:
            raise problems.NameInvalidError(f"{reference!r} is no tag: 1 to 128 of letters, digits, `_`, `.` and `-`")
        found = oci.parse(data, request.headers.get("content-type", ""))
        await self.uses.using(oci.blob_key(digest), *map(oci.blob_key, oci.named(found)))
        await self._check_content(repository, found)
        await self._blobs.put(oci.blob_key(digest), data)
        if isinstance(found, Manifest) and found.artifact_type is None:
            arrival = Arrival(
                actor=actor,
                repository=repository,
                reference=reference,
                digest=digest,
                manifest=found,
                config_blob=await self._config(found),
            )
            await self._on_manifest(arrival)
        stored = StoredManifest(
            digest=digest, media_type=found.media_type, size=len(data), blob_key=oci.blob_key(digest)
        )
        await self._repositories.add_manifest(repository, stored, None if by_digest else reference)
        headers = {"Location": f"/v2/{repository}/manifests/{digest}", "Docker-Content-Digest": digest}
        return Response(status_code=201, headers=headers)

    async def get_tags(self, request: Request, actor: Actor, names: dict[str, str]) -> Response:
        """The tags of a repository by name, in pages of `n` after `last`."""
        given = request.query_params.get("n", str(MAX_TAGS))
        if not given.isdecimal():
            raise problems.NameInvalidError(f"n={given!r}: a number is wanted")
        count = min(int(given), MAX_TAGS)
        tags = await self._repositories.tags(names["name"], request.query_params.get("last", ""), count)
        headers = {}
        if tags and len(tags) == count:
            headers["Link"] = f'</v2/{names["name"]}/tags/list?n={count}&last={quote(tags[-1])}>; rel="next"'
        body = json.dumps({"name": names["name"], "tags": tags})
        return Response(body, 200, headers, "application/json")

    async def _stored(self, repository: str, reference: str) -> StoredManifest:
        if ":" in reference:
            found = await self._repositories.manifest(repository, _digest(reference))
        else:
            found = await self._repositories.tagged(repository, reference)
        if found is None:
            raise problems.ManifestUnknownError(f"{repository} has no manifest {reference}")
        return found

    async def _check_content(self, repository: str, found: Manifest | Index) -> None:
        missing = await self._repositories.missing(repository, oci.named(found))
        if missing:
            raise problems.ManifestBlobUnknownError(f"{repository} has no {', '.join(missing)}; upload it first")

    async def _config(self, found: Manifest) -> bytes:
        if found.config.size > MAX_CONFIG_BYTES:
            raise oci.ManifestError(f"config.size: at most {MAX_CONFIG_BYTES} bytes are accepted")
        return await self._bytes(oci.blob_key(found.config.digest))

    async def _bytes(self, key: str) -> bytes:
        return b"".join([piece async for piece in await self._blobs.open(key)])


def bearer(header: str) -> bytes:
    """An `Authorization` header as the rest of the yard reads it: of Basic, the password is the token."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "basic":
        return header.encode("latin-1")
    try:
        _, _, password = base64.b64decode(rest.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return b"Bearer "
    return b"Bearer " + password


def _progress(repository: str, upload: str, size: int, status: int = 202) -> Response:
    headers = {
        "Location": f"/v2/{repository}/blobs/uploads/{upload}",
        "Range": f"0-{max(0, size - 1)}",
        "Docker-Upload-UUID": upload,
    }
    return Response(status_code=status, headers=headers)


def _made(repository: str, digest: str) -> Response:
    headers = {"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": digest}
    return Response(status_code=201, headers=headers)


def _digest(text: str) -> str:
    if not oci.is_digest(text):
        raise problems.DigestInvalidError(f"{text!r} is no digest: sha256: and 64 hexadecimal digits are wanted")
    return text


def _range(header: str | None, size: int) -> tuple[int, int, int]:
    """Start, end (exclusive) and status for a `Range` header; what is no single range of bytes asks for everything."""
    match = _BYTES.fullmatch(header.strip()) if header else None
    if match is None or not any(match.groups()):
        return 0, size, 200
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start, end = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
    if start >= end:
        raise problems.RangeInvalidError(
            f"the range {header} is not in {size} bytes", {"Content-Range": f"bytes */{size}"}
        )
    return start, end, 206


def _piece_start(header: str | None) -> int | None:
    if header is None:
        return None
    match = _PIECE.fullmatch(header.strip())
    if match is None:
        raise problems.RangeInvalidError(f"Content-Range {header!r}: one like 0-1023 is wanted")
    return int(match[1])


async def _body(request: Request, limit: int) -> bytes:
    body = bytearray()
    chunks: AsyncIterator[bytes] = request.stream()
    async for chunk in chunks:
        body += chunk
        if len(body) > limit:
            raise errors.TooLarge(f"A manifest may have {limit} bytes.")
    return bytes(body)
