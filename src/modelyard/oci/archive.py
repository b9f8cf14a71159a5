"""Whole images as one archive, made while it is read: an OCI layout that `docker load` of any engine takes, too."""

from __future__ import annotations

import functools
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard.oci.layers import Layer
from modelyard.oci.layout import INDEX_FILE, VERSION_BYTES, VERSION_FILE, docker_list, index_bytes
from modelyard.oci.manifest import MANIFEST, Descriptor, digest_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file of an archive; `chunks` gives its bytes."""

    name: str
    size: int
    chunks: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What goes into an archive: an image's manifest, configuration and layers, and its platform (`linux/amd64`)."""

    manifest: bytes
    config: bytes
    layers: Sequence[Layer]
    platform: str = ""

    @property
    def descriptor(self) -> Descriptor:
        """How an index names it."""
        digest = digest_of(self.manifest)
        return Descriptor(media_type=MANIFEST, digest=digest, size=len(self.manifest), platform=self.platform)


def whole(image: Image, name: str) -> list[Part]:
    """An OCI layout; for engines that know none, it has their own list, too."""
    return [
        _small(VERSION_FILE, VERSION_BYTES),
        _small(INDEX_FILE, index_bytes(image.descriptor, name)),
        _small(_blob(image.descriptor.digest), image.manifest),
        *for_docker(image, name),
    ]


def for_docker(image: Image, name: str, without: int = 0) -> list[Part]:
    """What `docker load` needs, without so many of the lowest layers, which the engine has."""
    config = _blob(digest_of(image.config))
    names = [_blob(layer.descriptor.digest) for layer in image.layers]
    parts = {
        _blob(layer.descriptor.digest): Part(
            name=_blob(layer.descriptor.digest), size=layer.descriptor.size, chunks=layer.chunks
        )
        for layer in image.layers[without:]
    }
    return [
        _small("manifest.json", docker_list(config, names, [name] if name else [])),
        _small(config, image.config),
        *parts.values(),
    ]


def is_whole(path: Path) -> bool:
    """Does this file begin as an archive that `whole` made? Nothing but its first member is read."""
    try:
        with path.open("rb") as file:
            return file.read(len(_beginning())) == _beginning()
    except OSError:
        return False


@functools.cache
def _beginning() -> bytes:
    return _head(_small(VERSION_FILE, VERSION_BYTES)) + VERSION_BYTES


def _head(part: Part) -> bytes:
    info = tarfile.TarInfo(part.name)
    info.size, info.mode, info.mtime = part.size, 0o644, 0
    return info.tobuf(tarfile.PAX_FORMAT)


def stream(parts: Iterable[Part]) -> Iterator[bytes]:
    """The archive's bytes."""
    total = 0
    for part in parts:
        head = _head(part)
        yield head
        yield from part.chunks()
        padding = bytes(-part.size % tarfile.BLOCKSIZE)
        yield padding
        total += len(head) + part.size + len(padding)
    total += 2 * tarfile.BLOCKSIZE
    yield bytes(2 * tarfile.BLOCKSIZE + -total % tarfile.RECORDSIZE)


def _small(name: str, data: bytes) -> Part:
    return Part(name=name, size=len(data), chunks=lambda: iter((data,)))


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest.partition(':')[2]}"
