"""Files of a weight as layers: small ones together and compressed, large ones alone.

A large file of a kind that does not shrink is never copied: its archive is made while it is sent. What is compressed
lies in a file until it was sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from modelyard.oci import layers
from modelyard.oci.layers import Layer, Member
from modelyard.oci.manifest import LAYER_GZIP
from modelyard.weights.cache import Cache
from modelyard.weights.lock import LockedFile, LockedLayer

SMALL_BYTES: Final = 64 * 1024 * 1024
BUNDLE_BYTES: Final = 256 * 1024 * 1024
# Numbers that no compression makes smaller by much.
DENSE: Final = frozenset({".safetensors", ".bin", ".gguf", ".onnx", ".parquet", ".pt", ".pth"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A file of a weight whose bytes are in the store."""

    path: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Files that make one layer."""

    files: tuple[Stored, ...]
    compressed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A layer that is ready to be sent, and what it brings."""

    layer: Layer
    locked: LockedLayer
    files: tuple[LockedFile, ...]

    def discard(self) -> None:
        """It was sent: the file that it was compressed into is not needed any more."""
        if self.locked.media_type == LAYER_GZIP:
            self.layer.path.unlink(missing_ok=True)


def plan(files: Iterable[Stored], *, small: int = SMALL_BYTES, bundle: int = BUNDLE_BYTES) -> list[Group]:
    """Which files go together: by path, so that the same files always do."""
    groups: list[Group] = []
    waiting: list[Stored] = []
    total = 0
    for file in sorted(files, key=lambda file: file.path):
        if file.size >= small:
            dense = PurePosixPath(file.path).suffix.lower() in DENSE
            groups.append(Group(files=(file,), compressed=not dense))
            continue
        if waiting and total + file.size > bundle:
            groups.append(Group(files=tuple(waiting), compressed=True))
            waiting, total = [], 0
        waiting.append(file)
        total += file.size
    if waiting:
        groups.append(Group(files=tuple(waiting), compressed=True))
    return groups


def pack(group: Group, cache: Cache) -> Packed:
    """The layer of a group. Raises LayerError, OSError."""
    members = [Member(name=file.path, path=cache.path(file.digest)) for file in group.files]
    if group.compressed:
        layer = layers.write_layer(members, cache.partial(f"layer-{_key(group.files)}"))
    else:
        layer = layers.file_layer(members[0])
    plain = sum(file.size for file in group.files)
    described = layer.descriptor
    locked = LockedLayer(
        digest=described.digest, media_type=described.media_type, size=described.size, size_uncompressed=plain
    )
    brought = tuple(
        LockedFile(path=file.path, size=file.size, digest=file.digest, layer=described.digest) for file in group.files
    )
    return Packed(layer=layer, locked=locked, files=brought)


def _key(files: Sequence[Stored]) -> str:
    return hashlib.sha256("\n".join(f"{file.digest} {file.path}" for file in files).encode()).hexdigest()[:32]
