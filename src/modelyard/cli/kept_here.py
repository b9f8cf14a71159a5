"""What builds and pushes keep on this machine: images under names, layers of them and of bases; and clearing it."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard.errors import ModelyardError
from modelyard.oci.layout import INDEX_FILE, MAKING, Layout
from modelyard.oci.manifest import digest_of, parse
from modelyard.oci.manifest import named as named_in

# Folders in which something is made, and what was left there; younger than this, somebody may be at it.
_MAKING = (MAKING, "incoming")
_LEFT_SECONDS = 24 * 3600.0
_KNOWN = "known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image that a build keeps under a name. `unique`: the bytes that no other image and no layer's memory has;
    `parts`: all that it is made of."""

    name: str
    digest: str
    bytes: int
    unique: int
    made_at: float
    parts: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """What goes, or would go: `paths` of this disk. `used_at`: seconds since 1970."""

    kind: str
    name: str
    paths: tuple[Path, ...]
    bytes: int
    used_at: float


@dataclass(slots=True, kw_only=True)
class Seen:
    """All that is there. `layers`: what no kept image names, though another build or push may."""

    folder: Path
    images: list[Image] = field(default_factory=list)
    layers: list[Thing] = field(default_factory=list)
    leftovers: list[Thing] = field(default_factory=list)
    bytes: int = 0

    def going(self, before: float, now: float) -> list[Thing]:
        """Layers that nobody used since `before`, and what was left of what was broken off."""
        left = [thing for thing in self.leftovers if thing.used_at < now - _LEFT_SECONDS]
        return [*(thing for thing in self.layers if thing.used_at <= before), *left]

    def named(self, before: float) -> list[Thing]:
        """The images, each with those of its parts that nobody used since `before` and that no image before it has."""
        counted = set[Path]()
        found = []
        for image in self.images:
            parts = [_thing("layers", path.name, path) for path in image.parts if path not in counted]
            old = [part for part in parts if part.used_at <= before]
            counted.update(image.parts)
            paths, size = tuple(part.paths[0] for part in old), sum(part.bytes for part in old)
            found.append(Thing(kind="images", name=image.name, paths=paths, bytes=size, used_at=image.made_at))
        return found


def look(folder: Path) -> Seen:
    """What lies in the folder."""
    seen = Seen(folder=folder)
    blobs = {f"sha256:{path.name}": path for path in _files(folder / "blobs" / "sha256") if "." not in path.name}
    sizes = {digest: path.stat().st_size for digest, path in blobs.items()}
    seen.bytes = sum(sizes.values())
    layout = Layout(folder)
    kept = {name: one.digest for name, one in _names(layout).items() if name}
    closures = {name: _closure(digest, blobs) for name, digest in kept.items()}
    used = Counter(digest for closure in closures.values() for digest in closure)
    for name, digest in sorted(kept.items()):
        seen.images.append(
            Image(
                name=name,
                digest=digest,
                bytes=sum(sizes[one] for one in closures[name]),
                unique=sum(sizes[one] for one in closures[name] if used[one] == 1),
                made_at=blobs[digest].stat().st_mtime if digest in blobs else 0.0,
                parts=tuple(blobs[one] for one in sorted(closures[name])),
            )
        )
    for digest, path in sorted(blobs.items()):
        if not used[digest]:
            seen.layers.append(_thing("layers", digest[:19], path))
    seen.leftovers.extend(_leftovers(folder))
    return seen


def remove(thing: Thing) -> None:
    """Take it away. Raises OSError."""
    for path in thing.paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _names(layout: Layout) -> Mapping[str, Any]:
    try:
        return layout.names() if (layout.folder / INDEX_FILE).exists() else {}
    except ModelyardError:
        return {}


def _closure(digest: str, blobs: Mapping[str, Path]) -> frozenset[str]:
    """All that an image names and that is here, itself among it."""
    if digest not in blobs:
        return frozenset()
    data = blobs[digest].read_bytes()
    if digest_of(data) != digest:
        return frozenset()
    try:
        return frozenset({digest, *named_in(parse(data))} & blobs.keys())
    except ModelyardError:
        return frozenset({digest})


def _leftovers(folder: Path) -> Iterator[Thing]:
    found = [(f"{name}/{path.name}", path) for name in _MAKING for path in _below(folder / name)]
    for place in (folder, folder / "blobs" / "sha256", folder / _KNOWN):
        found += [(path.name, path) for path in _files(place) if path.name.endswith((".tmp", ".tar.gz"))]
    for name, path in found:
        with contextlib.suppress(FileNotFoundError):  # whoever was at it is done
            yield _thing("leftovers", name, path)


def _thing(kind: str, name: str, path: Path) -> Thing:
    found = path.lstat()
    size = found.st_size if not path.is_dir() else sum(each.lstat().st_size for each in path.rglob("*"))
    # When it was last read counts, where the file system notes that.
    return Thing(kind=kind, name=name, paths=(path,), bytes=size, used_at=max(found.st_atime, found.st_mtime))


def _below(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _files(folder: Path) -> list[Path]:
    return [path for path in _below(folder) if path.is_file() and not path.is_symlink()]
