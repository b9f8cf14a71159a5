"""Managed weights in a version: its manifest names their layers, which an import has sent or a push sends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from modelyard.oci import labels
from modelyard.oci.layers import Layer
from modelyard.oci.managed import Weight
from modelyard.oci.manifest import LAYER_GZIP, LAYER_KIND, Descriptor
from modelyard.weights import artifact, packing
from modelyard.weights.cache import Cache
from modelyard.weights.lock import LockedLayer, LockedWeight
from modelyard.weights.packing import Group, Stored
from modelyard.weights.remote import Repository


def shown(weights: Sequence[LockedWeight]) -> tuple[Weight, ...]:
    """What a model is to see of them."""
    return tuple(
        Weight(
            name=weight.name,
            target=weight.target,
            files=tuple((file.path, file.layer) for file in sorted(weight.files, key=lambda file: file.path)),
        )
        for weight in sorted(weights, key=lambda weight: weight.name)
    )


def layers(weights: Sequence[LockedWeight]) -> tuple[Descriptor, ...]:
    """Their layers as a version's manifest names them: each once, however many weights share it."""
    found = {}
    for weight in weights:
        for layer in weight.layers:
            annotations = {LAYER_KIND: labels.MANAGED, artifact.UNCOMPRESSED: str(layer.size_uncompressed)}
            found[layer.digest] = Descriptor(
                media_type=layer.media_type, digest=layer.digest, size=layer.size, annotations=annotations
            )
    return tuple(found[digest] for digest in sorted(found))


def make(weights: Sequence[LockedWeight], digest: str, cache: Cache, origin: Callable[[], Repository]) -> Layer:
    """One of their layers, ready to be sent: packed anew of the store's files.

    Who imported it may have packed otherwise; then it is brought from `origin`, where the import sent it.
    """
    weight, layer = next((weight, layer) for weight in weights for layer in weight.layers if layer.digest == digest)
    files = tuple(Stored(path=file.path, size=file.size, digest=file.digest) for file in weight.files_of(digest))
    compressed = layer.media_type == LAYER_GZIP
    if compressed or len(files) == 1:
        packed = packing.pack(Group(files=files, compressed=compressed), cache)
        if packed.locked.digest == digest:
            return packed.layer
        packed.discard()
    return _brought(layer, cache, origin())


def _brought(layer: LockedLayer, cache: Cache, origin: Repository) -> Layer:
    archive = cache.partial(layer.digest.removeprefix("sha256:"))
    with origin:
        origin.fetch(layer.digest, archive)
    descriptor = Descriptor(media_type=layer.media_type, digest=layer.digest, size=layer.size)
    return Layer(descriptor=descriptor, diff_id="", path=archive)
