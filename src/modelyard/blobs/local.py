"""What stores of blobs share that have to do with files of this machine: measuring what is written, and a full disk."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from modelyard import errors
from modelyard.blobs.base import Stat

PIECE = 256 * 1024
# Small pieces from a network are gathered up to this before a thread is asked to write them.
GATHER = 1024 * 1024
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Sums:
    """The size and the digests of bytes that pass by."""

    def __init__(self) -> None:
        self._size = 0
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)

    def note(self, piece: bytes) -> None:
        """Count and hash a piece."""
        self._size += len(piece)
        self._sha256.update(piece)
        self._md5.update(piece)

    def stat(self, key: str) -> Stat:
        """What is known of the blob that they were."""
        return Stat(key=key, size=self._size, sha256=self._sha256.hexdigest(), md5=self._md5.hexdigest())


class Hashed(Sums):
    """A file that is being written, and the sums of what went into it."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.file = file

    def write(self, piece: bytes) -> None:
        """Write it, and note it."""
        self.note(piece)
        rest = memoryview(piece)
        while rest:
            # An unbuffered file may take a part only.
            rest = rest[self.file.write(rest) :]


def pieces_of(path: Path) -> Iterator[bytes]:
    """A file's bytes."""
    with path.open("rb", buffering=0) as file:
        while piece := file.read(GATHER):
            yield piece


def free_fraction(folder: Path) -> float:
    """How much of the disk of a folder is free, 0 to 1."""
    usage = shutil.disk_usage(folder)
    return usage.free / usage.total


@contextlib.contextmanager
def out_of_space() -> Iterator[None]:
    """A full disk, told apart from everything else that a disk may say."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        raise errors.OutOfSpace("the disk is full", hint="make room on the disk that holds the data folder") from error
