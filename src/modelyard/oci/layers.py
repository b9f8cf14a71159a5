"""Layers: deterministic archives of files. The same files give the same digest, wherever and whenever they are packed.

Members are sorted by name, with time, owner and group zero and only the executable bit left of the mode. Small files
go together into one compressed archive; a large file becomes a layer of its own that is never written to the disk:
an uncompressed archive is a header, the file, and padding, so its bytes are made while they are sent.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from modelyard import errors
from modelyard.oci.manifest import LAYER_GZIP, LAYER_TAR, Descriptor

PIECE = 1024 * 1024
_COMPRESSION = 6
# For what is large and is packed once: four times as fast, a few parts in a hundred larger.
FAST = 1


class LayerError(errors.ModelyardError):
    """A file could not be packed; the detail names it."""

    code = "layer_error"
    title = "A layer could not be made"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file, folder or symbolic link at `path` that is to be called `name` in the archive."""

    name: str
    path: Path


class Opened:
    """A file that can be read from here on, several times, whoever removes it. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._file)

    @property
    def size(self) -> int:
        """Its bytes."""
        return os.fstat(self._file).st_size

    def chunks(self, start: int, length: int) -> Iterator[bytes]:
        """Some of its bytes, in pieces of at most a mebibyte. Raises LayerError where they are not there."""
        while length > 0:
            piece = os.pread(self._file, min(PIECE, length), start)
            if not piece:
                raise LayerError(f"{self.path}: it became shorter while it was read; try again")
            start += len(piece)
            length -= len(piece)
            yield piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """An archive ready to be sent: `head`, then the bytes of the file at `path`, then `tail`.

    `diff_id`: the digest of the archive before compression, as the image's configuration lists it. `opened`: the file,
    where somebody may take it away before it is sent.
    """

    descriptor: Descriptor
    diff_id: str
    path: Path
    head: bytes = b""
    tail: bytes = b""
    opened: Opened | None = field(default=None, compare=False, repr=False)

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """The archive's bytes from `start` on, in pieces of at most a mebibyte."""
        body_end = self.descriptor.size - len(self.tail)
        if start < len(self.head):
            yield self.head[start:]
        if start < body_end:
            first, length = max(0, start - len(self.head)), body_end - max(start, len(self.head))
            yield from (self.opened or Opened(self.path)).chunks(first, length)
        if self.tail:
            yield self.tail[max(0, start - body_end) :]


def write_layer(
    members: Iterable[Member], into: Path, annotations: Mapping[str, str] | None = None, *, level: int = _COMPRESSION
) -> Layer:
    """Pack members into a compressed archive at `into` (replaced atomically). Raises LayerError."""
    partial = into.with_name(f"{into.name}.{os.getpid()}.tmp")
    try:
        with partial.open("wb") as file:
            compressed = _Hashing(cast(IO[bytes], file))
            with gzip.GzipFile(
                filename="", mode="wb", compresslevel=level, fileobj=cast(IO[bytes], compressed), mtime=0
            ) as zipped:
                plain = _Hashing(cast(IO[bytes], zipped))
                _write_members(members, plain)
        partial.replace(into)
    finally:
        partial.unlink(missing_ok=True)
    descriptor = Descriptor(
        media_type=LAYER_GZIP,
        digest=compressed.digest,
        size=compressed.size,
        annotations=annotations or {},
    )
    return Layer(descriptor=descriptor, diff_id=plain.digest, path=into)


def compress(
    source: IO[bytes], into: Path, annotations: Mapping[str, str] | None = None, *, level: int = FAST
) -> Layer:
    """A whole archive that somebody else wrote, as a layer at `into`. Raises OSError."""
    with into.open("wb") as file:
        compressed = _Hashing(cast(IO[bytes], file))
        with gzip.GzipFile(
            filename="", mode="wb", compresslevel=level, fileobj=cast(IO[bytes], compressed), mtime=0
        ) as zipped:
            plain = _Hashing(cast(IO[bytes], zipped))
            while piece := source.read(PIECE):
                plain.write(piece)
    descriptor = Descriptor(
        media_type=LAYER_GZIP, digest=compressed.digest, size=compressed.size, annotations=annotations or {}
    )
    return Layer(descriptor=descriptor, diff_id=plain.digest, path=into)


def file_layer(member: Member, annotations: Mapping[str, str] | None = None, digest: str | None = None) -> Layer:
    """One large file as an uncompressed archive that exists only while it is read.

    `digest`: what an earlier call found for the same file; without it the file is read once. Raises LayerError.
    """
    info = _info(member, member.path.stat())
    head = info.tobuf(tarfile.PAX_FORMAT)
    padding = -info.size % tarfile.BLOCKSIZE
    whole = len(head) + info.size + padding + 2 * tarfile.BLOCKSIZE
    tail = bytes(padding + 2 * tarfile.BLOCKSIZE + -whole % tarfile.RECORDSIZE)
    digest = digest or _digest_of_file(member.path, info.size, head, tail)
    descriptor = Descriptor(
        media_type=LAYER_TAR,
        digest=digest,
        size=len(head) + info.size + len(tail),
        annotations=annotations or {},
    )
    return Layer(descriptor=descriptor, diff_id=digest, path=member.path, head=head, tail=tail)


class _Hashing(io.RawIOBase):
    """Passes bytes on and keeps their digest and number."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:  # type: ignore[override]  # nothing but bytes is handed to it
        self._hash.update(data)
        self.size += len(data)
        self._target.write(data)
        return len(data)

    def tell(self) -> int:
        return self.size

    @property
    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()


def _write_members(members: Iterable[Member], target: _Hashing) -> None:
    archive = tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
    with archive:
        for member in sorted(members, key=lambda member: member.name):
            try:
                _write_member(archive, member)
            except OSError as error:
                raise LayerError(f"{member.path}: {error.strerror or error}") from None


def _write_member(archive: tarfile.TarFile, member: Member) -> None:
    info = _info(member, member.path.lstat())
    if not info.isreg():
        archive.addfile(info)
        return
    with member.path.open("rb") as file:
        try:
            archive.addfile(info, file)
        except OSError as error:
            if error.errno is not None:
                raise
            raise LayerError(f"{member.path}: it became shorter while it was packed; try again") from None


def _info(member: Member, found: os.stat_result) -> tarfile.TarInfo:
    info = tarfile.TarInfo(member.name)
    info.mtime = 0
    if stat.S_ISDIR(found.st_mode):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    elif stat.S_ISLNK(found.st_mode):
        info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, str(member.path.readlink())
    elif stat.S_ISREG(found.st_mode):
        info.mode = 0o755 if found.st_mode & 0o111 else 0o644
        info.size = found.st_size
    else:
        raise LayerError(
            f"{member.path}: neither a file, a folder nor a link", hint="Leave it out in .dockerignore, or remove it."
        )
    return info


def _digest_of_file(path: Path, size: int, head: bytes, tail: bytes) -> str:
    found = hashlib.sha256(head)
    for piece in Opened(path).chunks(0, size):
        found.update(piece)
    found.update(tail)
    return "sha256:" + found.hexdigest()
