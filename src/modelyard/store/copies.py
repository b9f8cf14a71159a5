"""A working copy of a version's source for one instance: what a model writes into its folder, no other one sees.

Small files are copied, sharing blocks where the file system can. A large file (weights) would cost too much: where
blocks cannot be shared it is a hard link to the store's read-only file. A model that replaces or deletes it changes its
own copy only; one that wants to write into it is refused, unless it runs as root.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
from pathlib import Path

LARGE_BYTES = 10 * 1024 * 1024

# The request for sharing a whole file's blocks (Linux, FICLONE in linux/fs.h).
_CLONE = 0x40049409
_CANNOT_SHARE = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM)


def copy_tree(source: Path, target: Path) -> None:
    """Make `target`, which is not there yet, a writable copy of the folder `source`."""
    target.mkdir(parents=True)
    for entry in os.scandir(source):
        there = target / entry.name
        if entry.is_symlink():
            there.symlink_to(Path(entry.path).readlink())
        elif entry.is_dir():
            copy_tree(Path(entry.path), there)
        else:
            _copy_file(Path(entry.path), there, entry.stat())


def _copy_file(source: Path, target: Path, found: os.stat_result) -> None:
    if not _clone(source, target):
        if found.st_size >= LARGE_BYTES and _link(source, target):
            return
        shutil.copyfile(source, target)
    target.chmod(0o755 if found.st_mode & 0o111 else 0o644)


def _clone(source: Path, target: Path) -> bool:
    """Share the blocks, so that a copy costs nothing until one of the two is written to."""
    if not sys.platform.startswith("linux"):
        return False
    with source.open("rb") as origin, target.open("wb") as copy:
        try:
            fcntl.ioctl(copy, _CLONE, origin.fileno())
        except OSError as error:
            if error.errno not in _CANNOT_SHARE:
                raise
        else:
            return True
    target.unlink()
    return False


def _link(source: Path, target: Path) -> bool:
    try:
        target.hardlink_to(source)
    except OSError:
        return False
    return True
