"""A version with managed weights: an index of its image and of its weights, each of which has a manifest of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from modelyard.oci.manifest import MANIFEST, Descriptor, Index, digest_of, render_index
from modelyard.packaging.builders.base import Artifact
from modelyard.weights import artifact
from modelyard.weights.lock import LockedWeight

# Where an image says which weights belong to it, for whoever starts a container of it.
RUNTIME_FILE: Final = "/.cog/weights.json"
# What its image is called beside it, before the tag of the whole; Cog's.
IMAGE_TAG: Final = "cog-image."
# Files that are for no kind of machine.
_NO_PLATFORM: Final = "unknown/unknown"


class Weight(NamedTuple):
    """A weight as it goes into the registry."""

    name: str
    made: artifact.Artifact
    descriptor: Descriptor

    @property
    def tag(self) -> str:
        """The one that an import gives it."""
        return artifact.tag(self.name, self.made.digest)


class Bundle(NamedTuple):
    """The whole version."""

    weights: Sequence[Weight]
    data: bytes

    @property
    def digest(self) -> str:
        """What the version is called."""
        return digest_of(self.data)


def make(image: Artifact, architecture: str, locked: Sequence[LockedWeight]) -> Bundle:
    """The same image with the same weights gives the same bytes."""
    weights = [_weight(each) for each in sorted(locked, key=lambda each: each.name)]
    described = Descriptor(
        media_type=image.manifest.media_type,
        digest=image.digest,
        size=len(image.manifest_bytes),
        platform=f"linux/{architecture}",
    )
    index = Index(manifests=(described, *(each.descriptor for each in weights)))
    return Bundle(weights, render_index(index))


def runtime(locked: Sequence[LockedWeight]) -> bytes:
    """What stands in `RUNTIME_FILE`."""
    told = [
        {"name": each.name, "target": each.target, "digest": _weight(each).made.digest, "setDigest": each.set_digest}
        for each in sorted(locked, key=lambda each: each.name)
    ]
    return json.dumps({"version": 1, "weights": told}, sort_keys=True, separators=(",", ":")).encode()


def _weight(locked: LockedWeight) -> Weight:
    made = artifact.make(locked.name, locked.target, locked.files, locked.layers)
    descriptor = Descriptor(
        media_type=MANIFEST,
        digest=made.digest,
        size=len(made.manifest),
        annotations={
            artifact.NAME: locked.name,
            artifact.SET_DIGEST: artifact.set_digest((file.path, file.digest) for file in locked.files),
            artifact.UNCOMPRESSED: str(sum(file.size for file in locked.files)),
        },
        platform=_NO_PLATFORM,
        artifact_type=artifact.TYPE,
    )
    return Weight(locked.name, made, descriptor)


def tree(place: str, image: str, bundle: Bundle) -> list[str]:
    """The lines that show what was pushed to `place` (`HOST/OWNER/NAME`); Cog's, for which scripts look."""
    longest = max((len(each.name) for each in bundle.weights), default=0)
    lines = [f"  model   {place}@{bundle.digest}", f"  ├─ image   {place}@{image}"]
    for each in bundle.weights:
        branch = "└─" if each is bundle.weights[-1] else "├─"
        lines.append(f"  {branch} weight  {each.name:<{longest}}  {place}@{each.made.digest}")
    return lines
