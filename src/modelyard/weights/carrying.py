"""Managed weights of a version: their layers, which an import has sent or a push sends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from modelyard.oci import labels
from modelyard.oci.client.remote import Repository
from modelyard.oci.layers import Layer
from modelyard.oci.manifest import LAYER_GZIP, LAYER_KIND, Descriptor
from modelyard.weights import artifact, packing, uris
from modelyard.weights.cache import Cache
from modelyard.weights.lock import LockedLayer, LockedWeight
from modelyard.weights.packing import Group, Stored


def layers(weights: Sequence[LockedWeight]) -> tuple[Descriptor, ...]:
    """Their layers: each once, however many weights share it."""
    found = {}
    for weight in weights:
        for layer in weight.layers:
            annotations = {LAYER_KIND: labels.MANAGED, artifact.UNCOMPRESSED: str(layer.size_uncompressed)}
            found[layer.digest] = Descriptor(
                media_type=layer.media_type, digest=layer.digest, size=layer.size, annotations=annotations
            )
    return tuple(found[digest] for digest in sorted(found))


class Apart:
    """What of a project's files its weights carry: those that were imported from a folder of it.

    Python files stay in the project too, as code may be imported by where it stands; and so does all of a folder that
    holds the model's own code (`refs`: `run.py:Runner`), which is in `shared` then: weight, folder and file.
    """

    def __init__(self, weights: Sequence[LockedWeight], root: Path, refs: Sequence[str | None]) -> None:
        self.shared: list[tuple[str, str, str]] = []
        self.folders: list[tuple[str, str, str]] = []  # weight, folder, target
        self._paths: set[str] = set()
        code = [ref.partition(":")[0].removeprefix("./") for ref in refs if ref]
        for weight in weights:
            for folder in _folders(weight, root):
                prefix = f"{folder}/" if folder else ""
                inside = next((file for file in code if file.startswith(prefix)), None)
                if inside is not None:
                    self.shared.append((weight.name, folder or ".", inside))
                    continue
                self.folders.append((weight.name, folder, weight.target))
                for file in weight.files:
                    parts = file.path.split("/")
                    self._paths.add(folder)
                    self._paths |= {prefix + "/".join(parts[:end]) for end in range(1, len(parts))}
                    if not file.path.endswith(".py"):
                        self._paths.add(prefix + file.path)

    def __call__(self, path: str) -> bool:
        """Is this path (relative, with `/`) carried by a weight?"""
        return path in self._paths


def _folders(weight: LockedWeight, root: Path) -> Iterator[str]:
    """The folders of the project that it came from, relative to it; empty is the project itself."""
    for source in weight.sources:
        if uris.scheme_of(source.uri) == "file":
            folder = (root / uris.normalised(source.uri).removeprefix("file://")).resolve()
            if folder.is_relative_to(root.resolve()):
                found = folder.relative_to(root.resolve()).as_posix()
                yield "" if found == "." else found


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
