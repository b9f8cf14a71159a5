"""What is wrong with what the registry keeps: a pure function of its rows, its bytes and what its manifests say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Literal

from modelyard.oci.manifest import Descriptor, Index, Manifest, described
from modelyard.registry.repositories import Everything, StoredManifest
from modelyard.upkeep import Finding

Deed = Literal["", "forget manifest", "keep manifest", "keep blob", "forget blob", "forget tag", "delete bytes"]

_PUSH = "push it again, or delete the version"
_FORGET_THEN_PUSH = f"let --fix forget it, so that a push sends it; then {_PUSH}"
_OTHER_BYTES = "its bytes are not those of its digest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The store at one moment. `sizes`: of the bytes that are here and as far as one knows right, by digest;
    `said`: the manifests that could be read; `versions`: (model's full name, digest); `wrong`: how many bytes are here
    that are others than their digest says, where they were read."""

    rows: Everything
    sizes: Mapping[str, int]
    said: Mapping[str, Manifest | Index]
    versions: tuple[tuple[str, str], ...]
    wrong: Mapping[str, int] = field(default_factory=dict)

    def is_stale(self, repository: str, digest: str) -> bool:
        """Does a repository list a blob of which the store has not the bytes, and no registry either?"""
        if digest not in self.sizes and (repository, digest) in self.rows.elsewhere:
            return False
        size = self.rows.blobs.get((repository, digest))
        return size is not None and self.sizes.get(digest) != size

    def compared(self, digest: str, wanted: int) -> str:
        """What is the matter with the bytes of a digest of which there should be so many."""
        if digest in self.wrong:
            return _OTHER_BYTES
        size = self.sizes.get(digest)
        return "its bytes are missing" if size is None else f"it has {size} bytes instead of {wanted}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A finding, and the deed that mends it, or at least lets somebody mend it who can: `deed` done to `repository` and
    `digest`, or to a `tag` there.

    `size`: of the bytes that would make it right.
    """

    finding: Finding
    deed: Deed = ""
    repository: str = ""
    digest: str = ""
    tag: str = ""
    size: int = 0
    stored: StoredManifest | None = field(default=None)


def examine(seen: Seen) -> Iterator[Fault]:
    """Every fault, the gravest kinds first."""
    yield from _wrong(seen)
    yield from _versions(seen)
    told = set()
    for (repository, digest), stored in sorted(seen.rows.manifests.items(), key=lambda each: each[0]):
        for fault in _manifest(seen, repository, digest, stored):
            told.add((fault.repository, fault.digest))
            yield fault
    # What is lost is told once: with what needs it, where something does.
    yield from _rows(seen, told)
    yield from _tags(seen)


def short(digest: str) -> str:
    """`sha256:0123456789ab`: enough of a digest to find it."""
    return digest[:19]


def _wrong(seen: Seen) -> Iterator[Fault]:
    for digest, size in sorted(seen.wrong.items()):
        finding = Finding(
            kind="content",
            name=short(digest),
            problem=_OTHER_BYTES,
            remedy="remove these bytes; what needs them can be pushed again",
            fixable=True,
            bytes=size,
        )
        yield Fault(finding=finding, deed="delete bytes", digest=digest)


def _versions(seen: Seen) -> Iterator[Fault]:
    for model, digest in seen.versions:
        if (model, digest) in seen.rows.manifests:
            continue
        found = seen.said.get(digest)
        finding = Finding(
            kind="version",
            name=f"{model}:{digest[7:19]}",
            problem="its registry does not list its image" if found else "its image is missing",
            remedy="list it" if found else _PUSH,
            fixable=found is not None,
        )
        if found is None:
            yield Fault(finding=finding)
            continue
        stored = StoredManifest(
            digest=digest, media_type=found.media_type, size=seen.sizes[digest], blob_key="oci/sha256/" + digest[7:]
        )
        yield Fault(finding=finding, deed="keep manifest", repository=model, digest=digest, stored=stored)


def _manifest(seen: Seen, repository: str, digest: str, stored: StoredManifest) -> Iterator[Fault]:
    name = f"{repository}@{short(digest)}"
    found = seen.said.get(digest)
    whole = seen.sizes.get(digest) == stored.size
    if found is None or not whole:
        needed = (repository, digest) in seen.versions
        finding = Finding(
            kind="manifest",
            name=name,
            problem="it cannot be read" if whole else seen.compared(digest, stored.size),
            remedy=_PUSH if needed else "forget it",
            fixable=not needed,
        )
        yield Fault(
            finding=finding,
            deed="" if needed else "forget manifest",
            repository=repository,
            digest=digest,
            size=-1 if whole else stored.size,
        )
        return
    for part in described(found):
        yield from _part(seen, repository, name, part)


def _part(seen: Seen, repository: str, name: str, part: Descriptor) -> Iterator[Fault]:
    size = seen.sizes.get(part.digest)
    if size is None and seen.rows.elsewhere.get((repository, part.digest)) == part.size:
        return  # it comes from its registry when somebody wants it
    if size != part.size:
        stale = seen.is_stale(repository, part.digest)
        finding = Finding(
            kind="layer",
            name=f"{name} {short(part.digest)}",
            problem=seen.compared(part.digest, part.size),
            remedy=_FORGET_THEN_PUSH if stale else _PUSH,
        )
        deed: Deed = "forget blob" if stale else ""
        yield Fault(finding=finding, deed=deed, repository=repository, digest=part.digest, size=part.size)
    elif not {(repository, part.digest)} & (seen.rows.blobs.keys() | seen.rows.manifests.keys()):
        finding = Finding(
            kind="layer",
            name=f"{name} {short(part.digest)}",
            problem="its registry does not list it",
            remedy="list it",
            fixable=True,
        )
        yield Fault(finding=finding, deed="keep blob", repository=repository, digest=part.digest, size=part.size)


def _rows(seen: Seen, told: Set[tuple[str, str]]) -> Iterator[Fault]:
    for (repository, digest), size in sorted(seen.rows.blobs.items()):
        if (repository, digest) not in told and seen.is_stale(repository, digest):
            finding = Finding(
                kind="blob",
                name=f"{repository} {short(digest)}",
                problem=seen.compared(digest, size),
                remedy="forget it, so that a push sends it",
                fixable=True,
            )
            yield Fault(finding=finding, deed="forget blob", repository=repository, digest=digest, size=size)


def _tags(seen: Seen) -> Iterator[Fault]:
    for (repository, tag), digest in sorted(seen.rows.tags.items()):
        listed_again = (repository, digest) in seen.versions and digest in seen.said
        if (repository, digest) not in seen.rows.manifests and not listed_again:
            finding = Finding(
                kind="tag",
                name=f"{repository}:{tag}",
                problem=f"it points to {short(digest)}, which is not there",
                remedy="forget it",
                fixable=True,
            )
            yield Fault(finding=finding, deed="forget tag", repository=repository, digest=digest, tag=tag)
