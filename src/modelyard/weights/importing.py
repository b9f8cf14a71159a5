"""An import: files into the store, layers of them, and what the registry lacks sent to it.

Whatever is cut off is taken up where it was: files on their way stay, and what is in the store or in the registry is
not moved again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from modelyard.oci.client.remote import Repository
from modelyard.weights import artifact, packing
from modelyard.weights.artifact import Artifact
from modelyard.weights.cache import Cache
from modelyard.weights.lock import LockedFile, LockedWeight
from modelyard.weights.packing import Packed, Stored
from modelyard.weights.planning import UNCHANGED, Kinds, Planned, Taken
from modelyard.weights.sources.base import Progress
from modelyard.weights.together import AT_ONCE, at_once


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A weight that is packed: what the lock will say, what the registry shall have."""

    locked: LockedWeight
    artifact: Artifact
    packed: tuple[Packed, ...]


def is_done(planned: Planned, cache: Cache, repository: Repository) -> bool:
    """Is it as it was, here and in the registry?"""
    locked = planned.locked
    return (
        planned.status == UNCHANGED
        and locked is not None
        and all(cache.has(file.digest, file.size) for file in locked.files)
        and repository.has_manifest(locked.digest)
    )


def missing(planned: Planned, cache: Cache) -> list[Taken]:
    """Those of its files that must be brought."""
    return [taken for taken in planned.files if taken.file.digest is None or not cache.has(taken.file.digest)]


def fetch(planned: Planned, kinds: Kinds, cache: Cache, progress: Progress) -> list[Stored]:
    """Bring what the store lacks, several files at once; gives all its files."""
    known = _known(planned, cache)

    def one(taken: Taken, advance: Progress) -> Stored:
        file = taken.file
        digest = file.digest or known.get(file.path)
        if digest is None or not cache.has(digest):
            digest = kinds[taken.kind].fetch(file, cache, advance)
        return Stored(path=file.path, size=cache.path(digest).stat().st_size, digest=digest)

    return at_once(one, planned.files, progress)


def _known(planned: Planned, cache: Cache) -> Mapping[str, str]:
    """Digests by path that the lock has, where the sources are what they were."""
    if planned.locked is None:
        return {}
    now = {source.uri: source.fingerprint for source in planned.sources}
    then = {source.uri: source.fingerprint for source in planned.locked.sources}
    if len(planned.sources) != len(now) or now != then:
        return {}
    return {file.path: file.digest for file in planned.locked.files if cache.has(file.digest, file.size)}


def pack(planned: Planned, files: Sequence[Stored], cache: Cache, moment: str) -> Made:
    """The weight as layers and a manifest. `moment`: when this is, as RFC 3339 has it."""
    packed = tuple(packing.pack(group, cache) for group in packing.plan(files))
    brought: list[LockedFile] = [file for each in packed for file in each.files]
    # Two groups of the same bytes would be one layer.
    layers = tuple({each.locked.digest: each.locked for each in packed}.values())
    made = artifact.make(planned.weight.name, planned.weight.target, brought, layers)
    before = planned.locked
    locked = LockedWeight(
        name=planned.weight.name,
        target=planned.weight.target,
        sources=planned.sources,
        imported_at=before.imported_at if before and before.digest == made.digest else moment,
        digest=made.digest,
        set_digest=artifact.set_digest((file.path, file.digest) for file in brought),
        size=sum(file.size for file in brought),
        size_compressed=sum(layer.size for layer in layers),
        files=tuple(brought),
        layers=layers,
    )
    return Made(locked=locked, artifact=made, packed=packed)


def lacking(made: Made, repository: Repository) -> list[Packed]:
    """The layers that the registry has not."""
    once = {each.locked.digest: each for each in made.packed}
    return [each for digest, each in once.items() if not repository.has(digest)]


def send(
    made: Made, layers: Sequence[Packed], repository: Repository, progress: Progress, *, most: int = AT_ONCE
) -> str:
    """Send these layers, `most` at once, and then what names them; gives the tag."""

    def one(packed: Packed, advance: Progress) -> None:
        def chunks(offset: int) -> Iterator[bytes]:
            for piece in packed.layer.chunks(offset):
                advance(0)  # between pieces it may be told to stop
                yield piece

        with repository.twin() as own:
            own.send(packed.locked.digest, packed.locked.size, chunks, advance)

    at_once(one, layers, progress, most=most)
    whole = made.artifact
    if not repository.has(whole.config_digest):
        repository.send_bytes(whole.config_digest, whole.config)
    tag = artifact.tag(made.locked.name, whole.digest)
    repository.put_manifest(tag, whole.manifest, whole.media_type)
    for packed in made.packed:
        packed.discard()
    return tag
