"""What a weight is in a registry: a manifest over layers, its annotations and its tag. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from modelyard.oci import managed
from modelyard.oci import manifest as oci
from modelyard.oci.manifest import Descriptor, Manifest
from modelyard.weights.lock import LockedFile, LockedLayer, LockedWeight

TYPE: Final = managed.ARTIFACT
CONFIG_TYPE: Final = "application/vnd.cog.weight.config.v1+json"
NAME: Final = "run.cog.weight.name"
TARGET: Final = "run.cog.weight.target"
SET_DIGEST: Final = "run.cog.weight.set-digest"
UNCOMPRESSED: Final = "run.cog.weight.size.uncompressed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """Bytes that go into the registry, beside the layers."""

    config: bytes
    config_digest: str
    manifest: bytes
    digest: str
    media_type: str = oci.MANIFEST


def set_digest(files: Iterable[tuple[str, str]]) -> str:
    """The digest of paths with digests: that of the sorted lines that `sha256sum` prints of them."""
    lines = sorted(f"{digest.removeprefix('sha256:')}  {path}\n" for path, digest in files)
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def tag(name: str, digest: str) -> str:
    """The tag of a weight whose manifest has this digest."""
    return f"cog-weight.{name}.{digest.removeprefix('sha256:')[:12]}"


def make(name: str, target: str, files: Sequence[LockedFile], layers: Sequence[LockedLayer]) -> Artifact:
    """The same weight gives the same bytes, wherever and whenever it is made."""
    found = set_digest((file.path, file.digest) for file in files)
    size = sum(file.size for file in files)
    config = _dumps(
        {
            "name": name,
            "target": target,
            "setDigest": found,
            "files": [
                {"path": file.path, "size": file.size, "digest": file.digest, "layer": file.layer}
                for file in sorted(files, key=lambda file: file.path)
            ],
        }
    )
    described = Descriptor(media_type=CONFIG_TYPE, digest=oci.digest_of(config), size=len(config))
    whole = Manifest(
        config=described,
        layers=tuple(
            Descriptor(
                media_type=layer.media_type,
                digest=layer.digest,
                size=layer.size,
                annotations={UNCOMPRESSED: str(layer.size_uncompressed)},
            )
            for layer in sorted(layers, key=lambda layer: layer.digest)
        ),
        annotations={NAME: name, TARGET: target, SET_DIGEST: found, UNCOMPRESSED: str(size)},
        artifact_type=TYPE,
    )
    data = oci.render(whole)
    return Artifact(config=config, config_digest=described.digest, manifest=data, digest=oci.digest_of(data))


def read(found: Manifest, config: bytes, digest: str) -> LockedWeight:
    """The weight whose manifest this is, with its configuration, whoever made them. Raises WeightsError."""
    weight = managed.of_artifact(found, config)
    try:
        sizes = {str(each["path"]): (int(each["size"]), str(each["digest"])) for each in json.loads(config)["files"]}
    except (ValueError, TypeError, LookupError) as error:
        raise managed.WeightsError(f'weight "{weight.name}": its files cannot be read: {error}') from None
    return LockedWeight(
        name=weight.name,
        target=weight.target,
        sources=(),
        imported_at="",
        digest=digest,
        set_digest=found.annotations.get(SET_DIGEST, ""),
        size=sum(size for size, _ in sizes.values()),
        size_compressed=sum(layer.size for layer in found.layers),
        files=tuple(
            LockedFile(path=path, size=sizes[path][0], digest=sizes[path][1], layer=layer)
            for path, layer in weight.files
        ),
        layers=tuple(
            LockedLayer(digest=layer.digest, media_type=layer.media_type, size=layer.size, size_uncompressed=0)
            for layer in found.layers
        ),
    )


def _dumps(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
