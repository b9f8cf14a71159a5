"""Manifests and tags: what arrives as an image, and what may leave."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from modelyard import errors
from modelyard.accounts import Actor
from modelyard.blobs.base import Blobs
from modelyard.db.base import Tx
from modelyard.oci import kinds
from modelyard.oci import manifest as oci
from modelyard.oci.manifest import Descriptor, Index, Manifest
from modelyard.registry import problems
from modelyard.registry.contents import Contents
from modelyard.registry.origins import Origins
from modelyard.registry.repositories import Repositories, StoredManifest
from modelyard.registry.requests import digest_in, read_body
from modelyard.uses import Uses

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_CONFIG_BYTES = 16 * 1024 * 1024
MAX_TAGS = 1000
# Refusals that are remembered for the tools that ask a second time in another way.
_REMEMBERED = 100
# Images of which it is remembered that they may be pulled.
_PULLED = 10_000

_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


class Making(Protocol):
    """What is written together with a manifest: `write` in the transaction that keeps it, `done` after that."""

    @property
    def write(self) -> Callable[[Tx], None]: ...

    @property
    def done(self) -> Callable[[], Awaitable[None]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An image, or an index with one for us, that came under a tag and is about to be kept.

    `digest`: of what came; `manifest`: the image's, which is the one of the index where an index came.
    """

    actor: Actor
    repository: str
    reference: str
    digest: str
    manifest: Manifest
    config_blob: bytes


OnManifest = Callable[[Arrival], Awaitable[Making | None]]
OnDelete = Callable[[str, str], Awaitable[None]]
OnPull = Callable[[bytes], None]


class Images:
    """The routes of manifests, tags and referrers.

    `on_manifest` may refuse an image by raising a ModelyardError, and says what is written with it; `on_delete` is
    asked, with repository and digest, before a manifest goes, and refuses in the same way; so does `on_pull`, with an
    image's configuration, before the image is given.
    """

    def __init__(
        self,
        *,
        repositories: Repositories,
        blobs: Blobs,
        contents: Contents,
        uses: Uses,
        on_manifest: OnManifest,
        on_delete: OnDelete,
        on_pull: OnPull,
        origins: Origins,
    ) -> None:
        self._on_pull = on_pull
        self._pulled: set[str] = set()
        self._origins = origins
        self._repositories = repositories
        self._blobs = blobs
        self._contents = contents
        self._uses = uses
        self._on_manifest = on_manifest
        self._on_delete = on_delete
        self._refused: dict[tuple[str, str], errors.ModelyardError] = {}

    async def get(self, request: Request, actor: Actor, names: dict[str, str]) -> Response:
        """A manifest by tag or digest."""
        found = await self._stored(names["name"], names["reference"])
        headers = {
            "Docker-Content-Digest": found.digest,
            "ETag": f'"{found.digest}"',
            "Content-Length": str(found.size),
        }
        # HEAD is how a pull begins: whoever hears yes there and no from GET takes this for no registry.
        await self._check_pull(found)
        if request.method == "HEAD":
            return Response(None, 200, headers, found.media_type)
        return Response(await self._contents.bytes_of(found.digest), 200, headers, found.media_type)

    async def _check_pull(self, stored: StoredManifest) -> None:
        """Raises what `on_pull` does."""
        if stored.digest in self._pulled:
            return
        found = oci.parse(await self._contents.bytes_of(stored.digest), stored.media_type)
        if isinstance(found, Manifest) and kinds.is_image(found):
            self._on_pull(await self._config(found))
        if len(self._pulled) >= _PULLED:
            self._pulled.clear()
        self._pulled.add(stored.digest)

    async def put(self, request: Request, actor: Actor, names: dict[str, str]) -> Response:
        """Keep a manifest, once everything that it names is here and `on_manifest` has no objection.

        What comes by its digest is a part of an index that comes after it, or a companion of an image, and an artifact
        is no image: nobody is asked about those.
        """
        repository, reference = names["name"], names["reference"]
        data = await read_body(request, MAX_MANIFEST_BYTES)
        digest = _check_reference(reference, data)
        try:
            found = self._parse(repository, reference, data, request.headers.get("content-type", ""))
            stored = StoredManifest(
                digest=digest, media_type=found.media_type, size=len(data), blob_key=oci.blob_key(digest)
            )
            await self._uses.using(stored.blob_key, *map(oci.blob_key, oci.named(found)))

            async def keep(seen: int) -> None:
                await self._check_content(repository, found)
                await self._blobs.put(stored.blob_key, data)
                await self._keep(actor, repository, reference, found, stored, seen=seen)

            await self._contents.alone(repository, keep)
        except errors.ModelyardError as error:
            self._remember(repository, reference, error)
            raise
        headers = {"Location": f"/v2/{repository}/manifests/{digest}", "Docker-Content-Digest": digest}
        if found.subject is not None:
            headers["OCI-Subject"] = found.subject.digest
        return Response(status_code=201, headers=headers)

    async def delete(self, request: Request, actor: Actor, names: dict[str, str]) -> Response:
        """A tag by its name; or a manifest by its digest, with its tags, unless it is needed."""
        repository, reference = names["name"], names["reference"]

        async def remove(seen: int) -> None:
            found = await self._stored(repository, reference)
            if ":" not in reference:
                await self._repositories.remove_tag(repository, reference, found.digest)
                return
            await self._on_delete(repository, found.digest)
            holder = await self._contents.holder(repository, found.digest)
            if holder is not None:
                raise problems.InUseError(
                    f"the index {holder} of {repository} names {found.digest}", hint="Delete that index first."
                )
            await self._repositories.remove_manifests(repository, [found.digest], seen)

        await self._contents.alone(repository, remove)
        return Response(status_code=202)

    async def tags(self, request: Request, actor: Actor, names: dict[str, str]) -> Response:
        """The tags of a repository by name, in pages of `n` after `last`."""
        given = request.query_params.get("n", str(MAX_TAGS))
        if not re.fullmatch("[0-9]{1,9}", given):
            raise problems.NameInvalidError(f"n={given[:50]!r}: a number is wanted")
        count = min(int(given), MAX_TAGS)
        last = request.query_params.get("last", "")
        found = await self._repositories.tags(names["name"], last.replace("\0", ""), count + 1)
        tags = found[:count]
        headers = {}
        if tags and len(found) > count:
            headers["Link"] = f'</v2/{names["name"]}/tags/list?n={count}&last={quote(tags[-1])}>; rel="next"'
        body = json.dumps({"name": names["name"], "tags": tags})
        return Response(body, 200, headers, "application/json")

    async def referrers(self, request: Request, actor: Actor, names: dict[str, str]) -> Response:
        """What was sent as a companion of an image: signatures, lists of what is in it."""
        wanted = request.query_params.get("artifactType")
        found = await self._contents.companions(names["name"], digest_in(names["digest"]))
        manifests = [
            {
                "mediaType": stored.media_type,
                "digest": stored.digest,
                "size": stored.size,
                "artifactType": said.artifact_type,
                **({"annotations": dict(said.annotations)} if said.annotations else {}),
            }
            for stored, said in found
            if wanted is None or said.artifact_type == wanted
        ]
        headers = {} if wanted is None else {"OCI-Filters-Applied": "artifactType"}
        body = json.dumps({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": manifests})
        return Response(body, 200, headers, oci.INDEX)

    # -- what arrives

    def _parse(self, repository: str, reference: str, data: bytes, kind: str) -> Manifest | Index:
        if kinds.is_schema_one(data):
            # Docker tries its oldest form when the present one was refused, and shows the second refusal alone.
            refused = self._refused.get((repository, reference))
            if refused is not None:
                raise refused
        return oci.parse(data, kind)

    def _remember(self, repository: str, reference: str, error: errors.ModelyardError) -> None:
        while len(self._refused) >= _REMEMBERED:
            del self._refused[next(iter(self._refused))]
        self._refused[repository, reference] = error

    async def _keep(
        self,
        actor: Actor,
        repository: str,
        reference: str,
        found: Manifest | Index,
        stored: StoredManifest,
        *,
        seen: int,
    ) -> None:
        tag = None if ":" in reference else reference
        image = None if tag is None else await self._image(found)
        making = None
        if image is not None:
            arrival = Arrival(
                actor=actor,
                repository=repository,
                reference=reference,
                digest=stored.digest,
                manifest=image,
                config_blob=await self._config(image),
            )
            making = await self._on_manifest(arrival)
        await self._repositories.add_manifest(repository, stored, tag, None if making is None else making.write, seen)
        self._refused.pop((repository, reference), None)
        if making is not None:
            await making.done()

    async def _image(self, found: Manifest | Index) -> Manifest | None:
        """The image in what came; None where there are only artifacts."""
        if isinstance(found, Manifest):
            return found if kinds.is_image(found) else None
        part = kinds.image_in(found)
        if part is None:
            return None
        image = oci.parse(await self._contents.bytes_of(part.digest), part.media_type)
        if not isinstance(image, Manifest):
            raise oci.ManifestError(f"{part.digest} is an index within an index; an image is wanted")
        return image if kinds.is_image(image) else None

    async def _check_content(self, repository: str, found: Manifest | Index) -> None:
        missing = []
        layers = {layer.digest for layer in found.layers} if isinstance(found, Manifest) else frozenset()
        for each in oci.described(found):
            size = await self._here(repository, each)
            if size is None and each.digest in layers:
                origin = await self._origins.find(repository, each.digest)
                size = None if origin is None else origin.size
            if size is None:
                missing.append(each.digest)
            elif size != each.size:
                raise problems.SizeInvalidError(f"{each.digest} has {size} bytes; the manifest says {each.size}")
        if missing:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise problems.ManifestBlobUnknownError(
                f"{repository} has no {', '.join(missing[:5])}{more}; upload it first"
            )

    async def _here(self, repository: str, each: Descriptor) -> int | None:
        size = await self._repositories.blob_size(repository, each.digest)
        if size is None:
            stored = await self._repositories.manifest(repository, each.digest)
            size = None if stored is None else stored.size
        if size is None:
            return None
        there = await self._blobs.stat(oci.blob_key(each.digest))
        return size if there is not None and there.size == size else None

    async def _config(self, found: Manifest) -> bytes:
        if found.config.size > MAX_CONFIG_BYTES:
            raise oci.ManifestError(f"config.size: at most {MAX_CONFIG_BYTES} bytes are accepted")
        return await self._contents.bytes_of(found.config.digest)

    async def _stored(self, repository: str, reference: str) -> StoredManifest:
        if ":" in reference:
            found = await self._repositories.manifest(repository, digest_in(reference))
        else:
            found = await self._repositories.tagged(repository, reference)
        if found is None:
            raise problems.ManifestUnknownError(f"{repository} has no manifest {reference}")
        return found


def _check_reference(reference: str, data: bytes) -> str:
    """The digest of a manifest that came as this. Raises DigestInvalidError, NameInvalidError."""
    digest = oci.digest_of(data)
    if ":" in reference:
        if digest_in(reference) != digest:
            raise problems.DigestInvalidError(f"the digest of what came is {digest}, announced was {reference}")
    elif _TAG.fullmatch(reference) is None:
        raise problems.NameInvalidError(f"{reference[:150]!r} is no tag: 1 to 128 of letters, digits, `_`, `.` and `-`")
    return digest
