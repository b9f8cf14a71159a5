"""Layers of a project's own files, known again by how the files look from outside.

What was packed before is not packed again: a layer is known by the paths, sizes, times and inodes of its files. A file
that was changed within the clock's grain of being read is never trusted, however equal it looks.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from modelyard.oci import labels
from modelyard.oci.layers import Layer, Member, Opened, file_layer, write_layer
from modelyard.oci.manifest import LAYER_GZIP, LAYER_KIND, Descriptor
from modelyard.packaging.recipe import Recipe

# No file system that we know keeps times coarser than this.
_GRAIN_NS = 50_000_000
_INDEX = "index.json"
# How an archive is called that is being packed, and how long one that nobody writes to is let be.
_PACKING = "packing-"
_HOUR = 3600.0


def source(recipe: Recipe, cache: Cache, report: Callable[[str], None]) -> Layer:
    """The layer of all files that are not large. Raises LayerError."""
    signature = _signature(recipe.root, recipe.source)
    known = cache.known.get(signature.key)
    annotations = {LAYER_KIND: labels.SOURCE}
    opened = cache.opened(known) if known is not None else None
    if known is not None and opened is not None:
        descriptor = Descriptor(media_type=LAYER_GZIP, digest=known.digest, size=known.size, annotations=annotations)
        cache.used(signature, known)
        return Layer(descriptor=descriptor, diff_id=known.diff_id, path=opened.path, opened=opened)
    report(f"Packing {len(recipe.source)} files")
    now = cache.now()
    members = [Member(name=_name(path), path=recipe.root / path) for path in recipe.source]
    with cache.new_archive() as into:
        layer = cache.keep(write_layer(members, into, annotations))
    cache.add(signature, layer, now)
    return layer


def weights(recipe: Recipe, path: str, cache: Cache, report: Callable[[str], None]) -> Layer:
    """The layer of one large file. Raises LayerError."""
    signature = _signature(recipe.root, [path])
    known = cache.known.get(signature.key)
    member = Member(name=_name(path), path=recipe.root / path)
    annotations = {LAYER_KIND: labels.WEIGHTS}
    if known is not None:
        cache.used(signature, known)
        return file_layer(member, annotations, known.digest)
    report(f"Reading {path}")
    now = cache.now()
    layer = file_layer(member, annotations)
    cache.add(signature, layer, now)
    return layer


def _name(path: str) -> str:
    return f"{labels.SOURCE_FOLDER}/{path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signature:
    """What files look like from outside; `newest`: when the last of them changed, in nanoseconds."""

    key: str
    newest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    digest: str
    diff_id: str
    size: int


def _signature(root: Path, paths: Sequence[str]) -> _Signature:
    found = hashlib.sha256()
    newest = 0
    prefix = f"{root}/"
    for path in paths:
        stat = os.lstat(prefix + path)
        times = (stat.st_mtime_ns, stat.st_ctime_ns)
        newest = max(newest, *times)
        found.update(f"{path}\0{stat.st_mode}\0{stat.st_size}\0{times}\0{stat.st_ino}\0".encode())
    return _Signature(key=found.hexdigest(), newest=newest)


class Cache:
    """What earlier builds found out about layers, in one small file, and the archive that the last one packed.

    Several may build in one folder at once, of different states of it: each packs into a file of its own, and holds
    open what it is going to send, which the others may remove.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.known = _load(folder / _INDEX)
        self._next: dict[str, _Known] = {}

    def now(self) -> int:
        """The file system's own time in nanoseconds: the one that its files are stamped with."""
        probe = self.folder / "now"
        probe.write_bytes(b"")
        return probe.stat().st_mtime_ns

    def _archive(self, digest: str) -> Path:
        return self.folder / f"{digest.partition(':')[2]}.tar.gz"

    def opened(self, known: _Known) -> Opened | None:
        """The archive of what is known, if it is kept."""
        try:
            found = Opened(self._archive(known.digest))
        except OSError:
            return None
        return found if found.size == known.size else None

    @contextmanager
    def new_archive(self) -> Iterator[Path]:
        """A file of one's own to pack into, to be kept or gone."""
        number, name = tempfile.mkstemp(prefix=_PACKING, suffix=".tar.gz", dir=self.folder)
        os.close(number)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def keep(self, layer: Layer) -> Layer:
        """Keep an archive under its digest, in place of the one before, and of what a killed command left."""
        opened = Opened(layer.path)
        path = self._archive(layer.descriptor.digest)
        layer.path.replace(path)
        for old in self.folder.glob("*.tar.gz*"):
            if old != path and not (old.name.startswith(_PACKING) and _is_recent(old)):
                old.unlink(missing_ok=True)
        return replace(layer, path=path, opened=opened)

    def add(self, signature: _Signature, layer: Layer, read_at: int) -> None:
        """Remember a layer, unless one of its files changed so shortly before that it may have changed again."""
        if signature.newest + _GRAIN_NS < read_at:
            descriptor = layer.descriptor
            self.used(signature, _Known(digest=descriptor.digest, diff_id=layer.diff_id, size=descriptor.size))

    def used(self, signature: _Signature, known: _Known) -> None:
        """Keep this one; what no build used since is forgotten."""
        self._next[signature.key] = known

    def save(self) -> None:
        """Write the file, when there is news."""
        if self._next != self.known:
            document = {key: asdict(known) for key, known in self._next.items()}
            partial = self.folder / f"{_INDEX}.{os.getpid()}.tmp"
            partial.write_text(json.dumps(document))
            partial.replace(self.folder / _INDEX)


def _is_recent(path: Path) -> bool:
    """Was it written to within an hour of what was written last here? Then somebody may be at it."""
    try:
        written = path.stat().st_mtime
        return path.parent.stat().st_mtime - written < _HOUR
    except OSError:
        return True


def _load(path: Path) -> Mapping[str, _Known]:
    try:
        document = json.loads(path.read_text())
        return {key: _Known(**value) for key, value in document.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
