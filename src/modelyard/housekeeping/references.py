"""What versions need: their manifests followed to layers, locks and sources."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Set
from dataclasses import dataclass

from modelyard import errors
from modelyard.blobs.base import Blobs, read
from modelyard.housekeeping.policy import Needed
from modelyard.oci import labels, manifest
from modelyard.oci.kinds import is_image
from modelyard.store.inventory import lock_key
from modelyard.store.versions import version_key

log = logging.getLogger(__name__)

# Manifests and configurations are small; a blob that is longer is neither.
_MOST_BYTES = 32 * 1024 * 1024


class UnknownNeedsError(errors.ModelyardError):
    """It cannot be said what a version needs, so nothing that it might need may go."""

    code = "unknown_needs"
    title = "It is not known what a version needs"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What one manifest says: the digests that it names; those among them that are manifests; its lock and source;
    is it anything else than one image; what it is a companion of."""

    names: tuple[str, ...]
    children: tuple[str, ...] = ()
    lock: str | None = None
    source: str | None = None
    artifact: bool = False
    subject: str | None = None


class References:
    """Reads manifests; each once, since what has a digest never changes."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._known: dict[str, _Facts] = {}

    async def needed(self, certain: Iterable[str], maybe: Iterable[str] = ()) -> Needed:
        """What the manifests with these digests need, with all that they lead to.

        `maybe`: those whose bytes may be gone already. Raises UnknownNeedsError for one of the `certain` that cannot
        be read.
        """
        found = Needed()
        seen: set[str] = set()
        for digest in certain:
            await self._follow(digest, found, seen)
        for digest in maybe:
            try:
                await self._follow(digest, found, seen)
            except UnknownNeedsError as error:
                log.debug("passed over: %s", error)
        return found

    def forget_all_but(self, digests: Set[str]) -> None:
        """Only these are still asked about."""
        self._known = {digest: facts for digest, facts in self._known.items() if digest in digests}

    async def artifacts(self, digests: Iterable[str]) -> set[str]:
        """Those of these manifests that are no images, but files of another kind, or lists: weights."""
        found = set()
        for digest in digests:
            try:
                if (await self._facts(digest)).artifact:
                    found.add(digest)
            except UnknownNeedsError as error:
                log.debug("passed over: %s", error)
        return found

    async def add_companions(self, found: Needed, digests: Iterable[str]) -> None:
        """Add those of these manifests whose subject is needed: a version's signatures stay with it."""
        waiting = list(digests)
        seen: set[str] = set()
        before = -1
        while before != len(seen):
            before = len(seen)
            for digest in waiting:
                try:
                    subject = (await self._facts(digest)).subject
                    if subject is not None and subject.partition(":")[2] in found.images:
                        await self._follow(digest, found, seen)
                except UnknownNeedsError as error:
                    log.debug("passed over: %s", error)

    async def _follow(self, digest: str, found: Needed, seen: set[str]) -> None:
        waiting = [digest]
        while waiting:
            one = waiting.pop()
            if one in seen:
                continue
            facts = await self._facts(one)
            seen.add(one)
            found.images.update(name.partition(":")[2] for name in (one, *facts.names))
            waiting.extend(facts.children)
            if facts.lock is not None:
                found.environments.add(facts.lock)
            if facts.source is not None:
                found.sources.add(facts.source)

    async def _facts(self, digest: str) -> _Facts:
        known = self._known.get(digest)
        if known is None:
            try:
                known = self._known[digest] = await self._read(digest)
            except (errors.ModelyardError, OSError) as error:
                raise UnknownNeedsError(
                    f"the image {digest[:19]}… cannot be read: {error}",
                    hint="Push its version again, or delete it.",
                ) from None
        return known

    async def _read(self, digest: str) -> _Facts:
        image = manifest.parse(await self._bytes(digest))
        names = manifest.named(image)
        subject = None if image.subject is None else image.subject.digest
        if isinstance(image, manifest.Index):
            return _Facts(names=names, children=names, artifact=True, subject=subject)
        if not is_image(image):
            return _Facts(names=names, artifact=True, subject=subject)
        config = manifest.parse_config(await self._bytes(image.config.digest))
        lock = config.labels.get(labels.LOCK)
        return _Facts(
            names=names, lock=None if lock is None else lock_key(lock), source=version_key(image), subject=subject
        )

    async def _bytes(self, digest: str) -> bytes:
        return await read(self._blobs, manifest.blob_key(digest), _MOST_BYTES)
