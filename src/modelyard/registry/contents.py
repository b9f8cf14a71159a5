"""What the manifests of a repository say: which blobs they name, whose companions they are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakValueDictionary

from modelyard import errors
from modelyard.blobs.base import Blobs, read
from modelyard.oci import kinds
from modelyard.oci import manifest as oci
from modelyard.oci.manifest import Index, Manifest
from modelyard.registry import problems
from modelyard.registry.repositories import Repositories, StoredManifest

_REMEMBERED = 20_000
# How often a change is begun anew that another process was in the way of, and how long that waits.
_ATTEMPTS, _PAUSE_SECONDS = 50, 0.02

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one manifest says. `subject`: the digest of what it is a companion of, a signature say; `is_image`: is it
    one image, and neither a list nor files of another kind?"""

    names: frozenset[str]
    subject: str | None
    artifact_type: str
    annotations: Mapping[str, str]
    is_image: bool


class Contents:
    """Reads manifests; what has a digest never changes, so each is read once. `alone`: how to change what a repository
    has."""

    def __init__(self, repositories: Repositories, blobs: Blobs) -> None:
        self._repositories = repositories
        self._blobs = blobs
        self._known: dict[str, Said] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def alone(self, repository: str, change: Callable[[int], Awaitable[Value]]) -> Value:
        """What `change` gives, which looks at a repository and changes it. In this process one goes after the other;
        where another process was faster, it is begun anew. It is given what `Repositories.changes` says.

        Raises ChangedError where others never stop.
        """
        lock = self._locks.get(repository)
        if lock is None:
            lock = self._locks[repository] = asyncio.Lock()
        async with lock:
            for left in reversed(range(_ATTEMPTS)):
                try:
                    return await change(await self._repositories.changes(repository))
                except problems.ChangedError:
                    if not left:
                        raise
                    await asyncio.sleep(_PAUSE_SECONDS)
        raise AssertionError("the last attempt returns or raises")

    async def bytes_of(self, digest: str) -> bytes:
        """A manifest, or configuration, as it came. Raises NotFound."""
        return await read(self._blobs, oci.blob_key(digest))

    async def holder(self, repository: str, digest: str) -> str | None:
        """The digest of a manifest of this repository that names this content; None where none does."""
        for holder, said in (await self.all_of(repository)).items():
            if said is not None and digest in said.names:
                return holder
        return None

    async def all_of(self, repository: str) -> dict[str, Said | None]:
        """What every manifest of this repository says, by digest; None where its bytes are lost."""
        return {each.digest: await self._said(each) for each in await self._repositories.manifests_of(repository)}

    async def companions(self, repository: str, digest: str) -> list[tuple[StoredManifest, Said]]:
        """The manifests of this repository whose subject this is."""
        found = [(stored, await self._said(stored)) for stored in await self._repositories.manifests_of(repository)]
        return [(stored, said) for stored, said in found if said is not None and said.subject == digest]

    async def _said(self, stored: StoredManifest) -> Said | None:
        known = self._known.get(stored.digest)
        if known is None:
            try:
                known = said(oci.parse(await self.bytes_of(stored.digest), stored.media_type))
            except errors.ModelyardError:
                # Its bytes are lost: `doctor --store` says so.
                return None
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[stored.digest] = known
        return known


def said(found: Manifest | Index) -> Said:
    """What a manifest says."""
    kind = found.artifact_type or ""
    if isinstance(found, Manifest):
        kind = kind or found.config.media_type
    return Said(
        names=frozenset(oci.named(found)),
        subject=None if found.subject is None else found.subject.digest,
        artifact_type=kind,
        annotations=found.annotations,
        is_image=kinds.is_image(found),
    )
