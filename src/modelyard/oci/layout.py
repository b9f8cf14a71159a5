"""Folders of images as the OCI's layout has them: blobs by digest, and an index of what is there under which name."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from modelyard.oci.layers import Layer
from modelyard.oci.manifest import (
    MANIFEST,
    Descriptor,
    Index,
    Manifest,
    ManifestError,
    digest_of,
    parse,
    render_index,
)

NAME = "org.opencontainers.image.ref.name"
VERSION_FILE = "oci-layout"
INDEX_FILE = "index.json"
# Where what is not whole yet lies, for whoever clears away what was broken off.
MAKING = "making"
VERSION_BYTES = b'{"imageLayoutVersion":"1.0.0"}'
# An index may name indexes; nobody needs more of them in a row.
_MAX_INDEXES = 4


class LayoutError(ManifestError):
    """The folder is no layout, or has no such image; the detail says which."""

    code = "layout_invalid"
    title = "No image there"


def is_one(folder: Path) -> bool:
    """Is this folder a layout? What is in it is not looked at."""
    return (folder / VERSION_FILE).is_file() and (folder / INDEX_FILE).is_file()


class Layout:
    """One folder. Several processes may add to it at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, digest: str) -> Path:
        """Where the blob of this digest lies, if it is there."""
        return self.folder / "blobs" / "sha256" / digest.partition(":")[2]

    def has(self, descriptor: Descriptor) -> bool:
        """Is the blob there, in its whole size?"""
        try:
            return self.path(descriptor.digest).stat().st_size == descriptor.size
        except OSError:
            return False

    def put(self, data: bytes) -> str:
        """Add a small blob; gives its digest."""
        digest = digest_of(data)
        with self._made(digest) as partial:
            partial.write_bytes(data)
        return digest

    def add(self, layer: Layer) -> Path:
        """Add a layer: linked where it is a file of this disk already, else written. Raises LayerError, OSError."""
        path = self.path(layer.descriptor.digest)
        if self.has(layer.descriptor):
            return path
        with self._made(layer.descriptor.digest) as partial:
            whole = not layer.head and not layer.tail
            try:
                if not whole:
                    raise OSError
                partial.hardlink_to(layer.path)
            except OSError:
                with partial.open("wb") as file:
                    file.writelines(layer.chunks())
        return path

    def take(self, path: Path, digest: str) -> Path:
        """Let a finished file of this disk be the blob of this digest."""
        target = self.path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        return target

    @contextlib.contextmanager
    def making(self) -> Iterator[Path]:
        """A folder of this disk for what is to be taken, gone afterwards."""
        (self.folder / MAKING).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder / MAKING) as folder:
            yield Path(folder)

    @contextlib.contextmanager
    def _made(self, digest: str) -> Iterator[Path]:
        target = self.path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        partial.unlink(missing_ok=True)
        try:
            yield partial
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    # -- names

    def names(self) -> dict[str, Descriptor]:
        """What is there by its name; "" for what has none. Raises LayoutError."""
        return {one.annotations.get(NAME, ""): one for one in self._index().manifests}

    def name(self, descriptor: Descriptor, name: str) -> None:
        """Let this manifest have the name, which another loses."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with _alone(self.folder):
            kept = self._index().manifests if (self.folder / INDEX_FILE).exists() else ()
            others = [one for one in kept if one.annotations.get(NAME, "") != name]
            (self.folder / VERSION_FILE).write_bytes(VERSION_BYTES)
            self._write((*others, named(descriptor, name)))

    def forget(self) -> None:
        """Let no image have a name any more."""
        if (self.folder / INDEX_FILE).exists():
            with _alone(self.folder):
                self._write(())

    def _write(self, manifests: Sequence[Descriptor]) -> None:
        partial = self.folder / f"{INDEX_FILE}.{os.getpid()}.tmp"
        partial.write_bytes(render_index(Index(manifests=tuple(manifests))))
        partial.replace(self.folder / INDEX_FILE)

    def _index(self) -> Index:
        try:
            found = parse((self.folder / INDEX_FILE).read_bytes())
        except OSError as error:
            raise LayoutError(
                f"{self.folder} is no OCI layout: {INDEX_FILE}: {error.strerror}",
                hint="`skopeo copy docker://REF oci:FOLDER`, `yard build -o FOLDER` and `make base-image` make one",
            ) from None
        except ManifestError as error:
            raise LayoutError(f"{self.folder / INDEX_FILE}: {error.detail}") from None
        if not isinstance(found, Index):
            raise LayoutError(f"{self.folder / INDEX_FILE} is no index")
        return found

    # -- images

    def image(self, name: str | None, platform: str) -> tuple[Descriptor, Manifest]:
        """The manifest of this name (None: the only one there) for a platform. Raises LayoutError, ManifestError."""
        there = self.names()
        if name is not None and name not in there:
            raise LayoutError(f"{self.folder} has no image called {name!r}; there are: {', '.join(map(repr, there))}")
        if name is None and len(self._index().manifests) != 1:
            raise LayoutError(
                f"{self.folder} has {len(there)} images: {', '.join(map(repr, there))}",
                hint=f"oci:{self.folder}:NAME says which one is meant",
            )
        descriptor = there[name] if name is not None else self._index().manifests[0]
        for _ in range(_MAX_INDEXES):
            found = parse(self.read(descriptor), descriptor.media_type)
            if isinstance(found, Manifest):
                return descriptor, found
            descriptor = of_platform(found, platform, str(self.folder))
        raise LayoutError(f"{self.folder}: indexes that name indexes that name indexes")

    def read(self, descriptor: Descriptor) -> bytes:
        """The bytes of a small blob. Raises LayoutError where they are not those of its digest."""
        try:
            data = self.path(descriptor.digest).read_bytes()
        except OSError as error:
            raise LayoutError(f"{self.folder}: the blob {descriptor.digest}: {error.strerror}") from None
        if digest_of(data) != descriptor.digest:
            raise LayoutError(f"{self.folder}: what lies at {descriptor.digest} has another digest")
        return data


def named(descriptor: Descriptor, name: str) -> Descriptor:
    """The descriptor of a manifest as an index has it under a name."""
    return Descriptor(
        media_type=descriptor.media_type or MANIFEST,
        digest=descriptor.digest,
        size=descriptor.size,
        annotations={NAME: name} if name else {},
        platform=descriptor.platform,
    )


def of_platform(index: Index, platform: str, where: str) -> Descriptor:
    """What an index has for a platform (`linux/amd64`). Raises LayoutError with those that it has."""
    for one in index.manifests:
        if one.platform == platform:
            return one
    if len(index.manifests) == 1 and not index.manifests[0].platform:
        return index.manifests[0]
    known = sorted({one.platform for one in index.manifests if one.platform and "unknown" not in one.platform})
    raise LayoutError(
        f"{where} has no image for {platform}; it has: {', '.join(known) or 'none with a platform'}",
        hint=f"name one for {platform}, or say with --platform for which it is to be" if known else None,
    )


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def index_bytes(descriptor: Descriptor, name: str) -> bytes:
    """The index of a layout with this one image."""
    return render_index(Index(manifests=(named(descriptor, name),)))


def docker_list(config: str, layers: list[str], names: list[str]) -> bytes:
    """`manifest.json` of an archive that `docker load` takes; `config` and `layers` are names in the archive."""
    return json.dumps([{"Config": config, "RepoTags": names or None, "Layers": layers}], separators=(",", ":")).encode()
