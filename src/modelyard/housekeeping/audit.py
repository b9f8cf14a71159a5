"""Looks whether what the registry keeps is whole, and mends what can be mended without loss."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import Callable, Mapping

from modelyard import errors
from modelyard.blobs.base import Blobs, Listed, read
from modelyard.housekeeping.examination import Fault, Seen, examine, short
from modelyard.housekeeping.policy import GRACE_SECONDS, SECOND
from modelyard.models.census import Census
from modelyard.oci import manifest as oci
from modelyard.oci.manifest import Index, Manifest
from modelyard.registry.images import MAX_MANIFEST_BYTES
from modelyard.registry.repositories import Everything, Repositories
from modelyard.upkeep import Check, Checked, Finding
from modelyard.uses import Uses

_IMAGES = "oci/sha256"


class Audit:
    """`clock`: microseconds since 1970; `uses`: what pushes are about to use."""

    def __init__(
        self, *, blobs: Blobs, census: Census, repositories: Repositories, uses: Uses, clock: Callable[[], int]
    ) -> None:
        self._blobs = blobs
        self._census = census
        self._repositories = repositories
        self._uses = uses
        self._clock = clock

    async def run(self, check: Check) -> Checked:
        """Look, and mend where that is wanted, until a look finds nothing more to mend: what is mended may show what
        lay behind it. What cannot be mended stays among the findings with its remedy."""
        wrong = await self._wrong(await self._listed()) if check.deep else {}
        checked = Checked(deep=check.deep)
        tried: set[Finding] = set()
        while True:
            seen, faults = await self._look(wrong)
            checked.counts = checked.counts or _counts(seen)
            left = []
            again = False
            for fault in faults:
                mended = check.fix and bool(fault.deed) and fault.finding not in tried and await self._mend(fault)
                again = again or mended
                tried.add(fault.finding)
                if mended and fault.finding.fixable:
                    checked.findings.append(dataclasses.replace(fault.finding, fixed=True))
                else:
                    left.append(fault.finding)
                if mended and fault.deed == "delete bytes":
                    wrong.pop(fault.digest, None)
            if not again:
                checked.findings += left
                return checked

    async def _look(self, wrong: Mapping[str, int]) -> tuple[Seen, list[Fault]]:
        # In this order: what a push that runs meanwhile writes first is looked at last.
        versions = tuple((model, f"sha256:{version}") for model, version, _ in await self._census.every())
        rows = await self._repositories.everything()
        listed = await self._listed()
        said = await self._read(rows, versions)
        seen = Seen(
            rows=rows,
            sizes={digest: each.size for digest, each in listed.items() if digest not in wrong},
            said={digest: found for digest, found in said.items() if digest not in wrong},
            versions=versions,
            wrong=wrong,
        )
        return seen, [*examine(seen), *await self._ownerless(seen, listed)]

    async def _listed(self) -> dict[str, Listed]:
        return {f"sha256:{each.key.rpartition('/')[2]}": each for each in await self._blobs.list(_IMAGES)}

    async def _read(self, rows: Everything, versions: tuple[tuple[str, str], ...]) -> dict[str, Manifest | Index]:
        kinds = {digest: stored.media_type for (_, digest), stored in rows.manifests.items()}
        found = {}
        for digest in {*kinds, *(digest for _, digest in versions)}:
            try:
                found[digest] = oci.parse(await read(self._blobs, oci.blob_key(digest)), kinds.get(digest, ""))
            except (errors.ModelyardError, OSError):
                continue
        return found

    async def _wrong(self, listed: Mapping[str, Listed]) -> dict[str, int]:
        """How many bytes lie under each digest that are others than it says."""
        found = {}
        for digest, each in listed.items():
            hashed = hashlib.sha256()
            try:
                async for piece in await self._blobs.open(oci.blob_key(digest)):
                    await asyncio.to_thread(hashed.update, piece)
            except errors.NotFound:
                continue
            except OSError:
                found[digest] = each.size
                continue
            if f"sha256:{hashed.hexdigest()}" != digest:
                found[digest] = each.size
        return found

    async def _ownerless(self, seen: Seen, listed: Mapping[str, Listed]) -> list[Fault]:
        """Bytes that no repository has, that no deleted image left, and that no push has brought a moment ago."""
        owned = {digest for _, digest in (*seen.rows.manifests, *seen.rows.blobs, *seen.versions)}
        owned |= set(seen.wrong)
        before = self._clock() - GRACE_SECONDS * SECOND
        old = {digest for digest, each in listed.items() if digest not in owned and each.modified < before}
        old -= await self._left({digest: listed[digest] for digest in old})
        return [
            Fault(
                finding=Finding(
                    kind="bytes",
                    name=short(digest),
                    problem="no repository has them",
                    remedy="remove them",
                    fixable=True,
                    bytes=each.size,
                ),
                deed="delete bytes",
                digest=digest,
            )
            for digest, each in sorted(listed.items())
            if digest in old
        ]

    async def _left(self, ownerless: dict[str, Listed]) -> set[str]:
        """Manifests that left their repository, with what they name: housekeeping takes these when room is wanted."""
        found: set[str] = set()
        for digest, each in ownerless.items():
            if each.size > MAX_MANIFEST_BYTES:
                continue
            try:
                manifest = oci.parse(await read(self._blobs, oci.blob_key(digest)))
            except (errors.ModelyardError, OSError):
                continue
            found.update((digest, *oci.named(manifest)))
        return found

    async def _mend(self, fault: Fault) -> bool:
        """True where it is as it should be now; a push may have mended it meanwhile."""
        repository, digest = fault.repository, fault.digest
        if fault.deed == "delete bytes":
            return await self._delete(digest, fault.finding.kind == "content")
        if fault.deed == "keep manifest" and fault.stored is not None:
            await self._repositories.add_manifest(repository, fault.stored, None)
        elif fault.deed == "keep blob":
            await self._repositories.add_blob(repository, digest, fault.size)
        elif fault.deed == "forget tag":
            if await self._repositories.manifest(repository, digest) is None:
                await self._repositories.remove_tag(repository, fault.tag, digest)
        elif await self._came(digest, fault.size):
            pass
        elif fault.deed == "forget manifest":
            await self._repositories.remove_manifests(repository, [digest])
        else:
            await self._repositories.remove_blob(repository, digest)
        return True

    async def _came(self, digest: str, size: int) -> bool:
        found = await self._blobs.stat(oci.blob_key(digest))
        return found is not None and found.size == size

    async def _delete(self, digest: str, wrong: bool) -> bool:
        """Remove bytes, unless somebody who pushes relies on them; on wrong ones nobody can rely."""
        key = oci.blob_key(digest)
        now = asyncio.get_running_loop().time()
        if not self._uses.take(key, now + 1 if wrong else now - self._uses.remembered_seconds):
            return False
        try:
            await self._blobs.delete(key)
        except OSError:
            return False
        finally:
            self._uses.gone(key)
        return True


def _counts(seen: Seen) -> dict[str, int]:
    here = {**seen.sizes, **seen.wrong}
    return {
        "versions": len(seen.versions),
        "manifests": len({digest for _, digest in seen.rows.manifests}),
        "blobs": len(here),
        "bytes": sum(here.values()),
        "elsewhere": len({digest for _, digest in seen.rows.elsewhere} - here.keys()),
    }
