"""Blobs on their way in and out: whole, in ranges, in pieces, taken over from another repository."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from modelyard.accounts import Actor
from modelyard.blobs.base import Blobs
from modelyard.oci import manifest as oci
from modelyard.oci.client.remote import ELSEWHERE
from modelyard.registry import problems
from modelyard.registry.contents import Contents
from modelyard.registry.fetches import Fetches
from modelyard.registry.origins import Origin, Origins
from modelyard.registry.passing import PassedThrough
from modelyard.registry.repositories import Repositories
from modelyard.registry.requests import byte_range, digest_in, piece_start
from modelyard.registry.uploads import Uploads
from modelyard.uses import Uses

May = Callable[[Actor, str], Awaitable[bool]]


class Transfer:
    """The routes of blobs and uploads. `may_read`: may this actor read that repository? `fetches` bring what is in
    another registry, where the yard may do that."""

    def __init__(
        self,
        *,
        repositories: Repositories,
        blobs: Blobs,
        uploads: Uploads,
        contents: Contents,
        uses: Uses,
        may_read: May,
        origins: Origins,
        fetches: Fetches | None = None,
    ) -> None:
        self._origins = origins
        self._fetches = fetches
        self._repositories = repositories
        self._blobs = blobs
        self._uploads = uploads
        self._contents = contents
        self._uses = uses
        self._may_read = may_read

    async def get(self, request: Request, actor: Actor, names: dict[str, str]) -> Response:
        """A blob, or a range of it."""
        digest = digest_in(names["digest"])
        if request.method == "HEAD":
            # Whoever pushes asks what need not be sent, and relies on the answer.
            await self._uses.using(oci.blob_key(digest))
        size = await self._size(names["name"], digest)
        origin = await self._origins.find(names["name"], digest) if size is None else None
        if origin is not None:
            size = origin.size
        if size is None:
            raise problems.BlobUnknownError(f"{names['name']} has no blob {digest}")
        headers = {"Docker-Content-Digest": digest, "Accept-Ranges": "bytes", "ETag": f'"{digest}"'}
        headers |= _elsewhere(origin)
        if request.method == "HEAD":
            return Response(None, 200, {**headers, "Content-Length": str(size)}, "application/octet-stream")
        start, end, status = byte_range(request.headers.get("range"), size)
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        headers["Content-Length"] = str(end - start)
        if origin is None:
            chunks = await self._blobs.open(oci.blob_key(digest), start, end)
            return StreamingResponse(chunks, status, headers, "application/octet-stream")
        chunks = await self._fetched(digest, origin, start, end)
        return PassedThrough(chunks, status, headers, "application/octet-stream")

    async def _fetched(self, digest: str, origin: Origin, start: int, end: int) -> AsyncIterator[bytes]:
        if self._fetches is None:
            raise problems.BlobUnknownError(f"{digest} is at {origin.name}, and this registry fetches nothing")
        return await self._fetches.open(digest, origin, start, end)

    async def delete(self, request: Request, actor: Actor, names: dict[str, str]) -> Response:
        """The repository has the blob no more. The bytes go when nobody has them and housekeeping comes by."""
        repository, digest = names["name"], digest_in(names["digest"])

        async def remove(seen: int) -> None:
            known = await self._repositories.blob_size(repository, digest) is not None
            if not known and await self._origins.find(repository, digest) is None:
                raise problems.BlobUnknownError(f"{repository} has no blob {digest}")
            holder = await self._contents.holder(repository, digest)
            if holder is not None:
                raise problems.InUseError(
                    f"the image {holder} of {repository} needs {digest}", hint="Delete that image first."
                )
            await self._repositories.remove_blob(repository, digest, seen)

        await self._contents.alone(repository, remove)
        return Response(status_code=202)

    async def begin(self, request: Request, actor: Actor, names: dict[str, str]) -> Response:
        """Begin an upload; or do all of it, when `digest` comes with the body; or take a blob over by `mount`."""
        repository = names["name"]
        mount, digest = request.query_params.get("mount"), request.query_params.get("digest")
        origin = request.query_params.get("from")
        if mount is not None and origin:
            mounted = await self._mount(actor, digest_in(mount), origin, repository)
            if mounted is not None:
                return mounted
        if digest is not None:
            digest_in(digest)
            upload = self._uploads.begin(repository)
            return await self._take(request, repository, upload, digest)
        return _progress(repository, self._uploads.begin(repository), 0)

    async def progress(self, request: Request, actor: Actor, names: dict[str, str]) -> Response:
        """How far an upload has come, for whoever was cut off."""
        size = self._uploads.size(names["name"], names["upload"])
        return _progress(names["name"], names["upload"], size, status=204)

    async def append(self, request: Request, actor: Actor, names: dict[str, str]) -> Response:
        """The next piece of an upload."""
        start = piece_start(request.headers.get("content-range"))
        size = await self._uploads.append(names["name"], names["upload"], request.stream(), start)
        return _progress(names["name"], names["upload"], size)

    async def finish(self, request: Request, actor: Actor, names: dict[str, str]) -> Response:
        """The last piece, maybe empty, and the digest of the whole."""
        digest = request.query_params.get("digest")
        if digest is None:
            raise problems.DigestInvalidError("the parameter `digest` is wanted at the end of an upload")
        return await self._take(request, names["name"], names["upload"], digest_in(digest))

    async def cancel(self, request: Request, actor: Actor, names: dict[str, str]) -> Response:
        """Give an upload up."""
        self._uploads.size(names["name"], names["upload"])
        self._uploads.drop(names["upload"])
        return Response(status_code=204)

    async def _size(self, repository: str, digest: str) -> int | None:
        """The size of a blob that the repository has and whose bytes are here. What was lost is to be sent again."""
        size = await self._repositories.blob_size(repository, digest)
        found = None if size is None else await self._blobs.stat(oci.blob_key(digest))
        return size if found is not None and found.size == size else None

    async def _take(self, request: Request, repository: str, upload: str, digest: str) -> Response:
        start = piece_start(request.headers.get("content-range"))
        size = await self._uploads.append(repository, upload, request.stream(), start)
        path = await self._uploads.finish(repository, upload, digest)
        key = oci.blob_key(digest)
        await self._uses.using(key)
        there = await self._blobs.stat(key)
        if there is None or there.size != size:
            await self._blobs.put(key, path, move=True)
        self._uploads.drop(upload)
        await self._repositories.add_blob(repository, digest, size)
        return _made(repository, digest)

    async def _mount(self, actor: Actor, digest: str, origin: str, repository: str) -> Response | None:
        """The answer where it is taken over, else None. Whoever has the bytes hears where they are when they are not
        here, and may send them."""
        if not await self._may_read(actor, origin):
            if not await self._origins.take_over(digest, origin, repository):
                return None
            here = await self._size(repository, digest) is not None
            return _made(repository, digest, None if here else await self._origins.find(repository, digest))
        await self._uses.using(oci.blob_key(digest))
        size = await self._size(origin, digest)
        if size is not None:
            await self._repositories.add_blob(repository, digest, size)
            return _made(repository, digest)
        known = await self._origins.find(origin, digest)
        if known is None:
            return None
        await self._origins.add(repository, digest, known)
        return _made(repository, digest, known)


def _progress(repository: str, upload: str, size: int, status: int = 202) -> Response:
    headers = {
        "Location": f"/v2/{repository}/blobs/uploads/{upload}",
        "Range": f"0-{max(0, size - 1)}",
        "Docker-Upload-UUID": upload,
    }
    return Response(status_code=status, headers=headers)


def _made(repository: str, digest: str, known: Origin | None = None) -> Response:
    headers = {"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": digest}
    return Response(status_code=201, headers=headers | _elsewhere(known))


def _elsewhere(known: Origin | None) -> dict[str, str]:
    return {} if known is None else {ELSEWHERE: known.name}
