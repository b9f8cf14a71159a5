"""What versions and weights take on the disk, and how much of it they share."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Set

from modelyard import errors
from modelyard.blobs.base import Blobs, read
from modelyard.engines.base import EngineError, Images
from modelyard.models.census import Census
from modelyard.oci import manifest as oci
from modelyard.oci.kinds import is_image
from modelyard.oci.manifest import Index, Manifest
from modelyard.registry.repositories import Everything, Repositories
from modelyard.upkeep import Holding, Holdings, InEngine

log = logging.getLogger(__name__)

_IMAGES = "oci/sha256"


async def look(blobs: Blobs, census: Census, repositories: Repositories, images: Images | None = None) -> Holdings:
    """All that the registry keeps."""
    versions = await census.every()
    rows = await repositories.everything()
    listed = {f"sha256:{each.key.rpartition('/')[2]}": each for each in await blobs.list(_IMAGES)}
    sizes = {digest: each.size for digest, each in listed.items()}
    kinds = {digest: stored.media_type for (_, digest), stored in rows.manifests.items()}
    said = {digest: await _read(blobs, digest, kind) for digest, kind in kinds.items()}
    tags = _tags(rows)
    wanted = [(model, f"sha256:{version}", at) for model, version, at in versions]
    named = {(model, digest) for model, digest, _ in wanted}
    parts = {digest for _, digest, _ in wanted}
    artifacts = [
        (repository, digest, listed[digest].modified)
        for repository, digest in sorted(tags.keys() - named)
        if digest in listed and _stands_alone(said.get(digest))
    ]
    closures = {digest: _closure(digest, said, sizes) for digest in {*parts, *(each[1] for each in artifacts)}}
    # What two models have as the same version is freed with neither alone.
    used = Counter(one for _, digest, _ in (*wanted, *artifacts) for one in closures[digest])

    def holding(name: str, digest: str, at: int) -> Holding:
        return Holding(
            name=name,
            id=digest.partition(":")[2],
            is_version=digest in parts,
            tags=tags.get((name, digest), ()),
            created_at=at,
            bytes=sum(sizes[one] for one in closures[digest]),
            unique=sum(sizes[one] for one in closures[digest] if used[one] == 1),
        )

    return Holdings(
        held=tuple(holding(*each) for each in (*wanted, *artifacts)),
        bytes=sum(sizes.values()),
        unneeded=sum(size for digest, size in sizes.items() if not used[digest]),
        in_engine=await _in_engine(images, {digest.partition(":")[2] for digest in parts}),
    )


async def _in_engine(images: Images | None, versions: Set[str]) -> tuple[InEngine, ...]:
    try:
        kept = [] if images is None else await images.kept()
    except EngineError as error:
        log.warning("what the engine has of images is not known: %s", error)
        return ()
    return tuple(
        InEngine(
            name=each.repository,
            id=each.version,
            bytes=each.bytes,
            unique=each.unique,
            needed=each.version in versions,
        )
        for each in sorted(kept, key=lambda each: (each.repository, each.version))
    )


async def _read(blobs: Blobs, digest: str, kind: str) -> Manifest | Index | None:
    try:
        return oci.parse(await read(blobs, oci.blob_key(digest)), kind)
    except (errors.ModelyardError, OSError):
        return None


def _stands_alone(found: Manifest | Index | None) -> bool:
    """Is it kept though it is no version: weights and the like?"""
    return found is not None and not is_image(found)


def _closure(digest: str, said: Mapping[str, Manifest | Index | None], sizes: Mapping[str, int]) -> frozenset[str]:
    """All digests that it leads to and whose bytes are here, its own among them."""
    found: set[str] = set()
    waiting: list[str] = [digest]
    while waiting:
        one = waiting.pop()
        if one in found or one not in sizes:
            continue
        found.add(one)
        names = said.get(one)
        waiting.extend(() if names is None else oci.named(names))
    return frozenset(found)


def _tags(rows: Everything) -> dict[tuple[str, str], tuple[str, ...]]:
    found: dict[tuple[str, str], list[str]] = {}
    for (repository, tag), digest in rows.tags.items():
        found.setdefault((repository, digest), []).append(tag)
    return {key: tuple(sorted(tags)) for key, tags in found.items()}
