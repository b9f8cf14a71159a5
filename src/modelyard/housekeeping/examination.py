"""What is wrong with what the registry keeps: a pure function of its rows, its bytes and what its manifests say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from modelyard.oci.manifest import Descriptor, Index, Manifest, described
from modelyard.registry.repositories import Everything, StoredManifest
from modelyard.upkeep import Finding

Deed = Literal["", "forget manifest", "keep manifest", "keep blob", "forget blob", "forget tag", "delete bytes"]

_PUSH = "push it again, or delete the version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The store at one moment. `sizes`: of the bytes that are here, by digest; `said`: the manifests that could be
    read; `versions`: (model's full name, digest); `wrong`: digests whose bytes are others, where they were read."""

    rows: Everything
    sizes: Mapping[str, int]
    said: Mapping[str, Manifest | Index]
    versions: tuple[tuple[str, str], ...]
    wrong: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A finding, and the deed that mends it: `deed` done to `repository` and `digest`, or to a `tag` there.

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
    for (repository, digest), stored in sorted(seen.rows.manifests.items(), key=lambda each: each[0]):
        yield from _manifest(seen, repository, digest, stored)
    yield from _rows(seen)
    yield from _tags(seen)


def short(digest: str) -> str:
    """`sha256:0123456789ab`: enough of a digest to find it."""
    return digest[:19]


def _wrong(seen: Seen) -> Iterator[Fault]:
    for digest in sorted(seen.wrong):
        finding = Finding(
            kind="content",
            name=short(digest),
            problem="its bytes are not those of its digest",
            remedy="remove these bytes; what needs them can be pushed again",
            fixable=True,
            bytes=seen.sizes.get(digest, 0),
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
            problem="it cannot be read" if whole else _compared(seen.sizes.get(digest), stored.size),
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
        finding = Finding(
            kind="layer",
            name=f"{name} {short(part.digest)}",
            problem=_compared(size, part.size),
            remedy=_PUSH,
        )
        yield Fault(finding=finding)
    elif not {(repository, part.digest)} & (seen.rows.blobs.keys() | seen.rows.manifests.keys()):
        finding = Finding(
            kind="layer",
            name=f"{name} {short(part.digest)}",
            problem="its registry does not list it",
            remedy="list it",
            fixable=True,
        )
        yield Fault(finding=finding, deed="keep blob", repository=repository, digest=part.digest, size=part.size)


def _rows(seen: Seen) -> Iterator[Fault]:
    for (repository, digest), size in sorted(seen.rows.blobs.items()):
        if digest not in seen.sizes and (repository, digest) in seen.rows.elsewhere:
            continue
        if seen.sizes.get(digest) != size:
            finding = Finding(
                kind="blob",
                name=f"{repository} {short(digest)}",
                problem=_compared(seen.sizes.get(digest), size),
                remedy="forget it, so that a push sends it",
                fixable=True,
            )
            yield Fault(finding=finding, deed="forget blob", repository=repository, digest=digest, size=size)


def _tags(seen: Seen) -> Iterator[Fault]:
    for (repository, tag), digest in sorted(seen.rows.tags.items()):
        if (repository, digest) not in seen.rows.manifests:
            finding = Finding(
                kind="tag",
                name=f"{repository}:{tag}",
                problem=f"it points to {short(digest)}, which is not there",
                remedy="forget it",
                fixable=True,
            )
            yield Fault(finding=finding, deed="forget tag", repository=repository, digest=digest, tag=tag)


def _compared(size: int | None, wanted: int) -> str:
    return "its bytes are missing" if size is None else f"it has {size} bytes instead of {wanted}"
