"""Taking things off the disk so that none is ever half there: renamed into a trash beside it first, deleted then.

A trash is a folder `.trash` next to what it takes, so on the same file system. What a killed process left in one is
deleted by the next.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from modelyard import ids

TRASH = ".trash"


def set_aside(path: Path, beside: Path | None = None) -> Path:
    """Move it into the trash next to it, or next to `beside`; gives where it is now. Links are moved, not followed.

    Raises OSError.
    """
    trash = (beside or path).parent / TRASH
    trash.mkdir(exist_ok=True)
    target = trash / ids.new_id()
    path.rename(target)
    return target


def never() -> bool:
    """Nobody is in a hurry."""
    return False


def delete(path: Path, stopped: Callable[[], bool] = never) -> None:
    """Delete a file, a link or a whole folder; leaves off where `stopped` says so. Raises OSError for what will not go.

    Folders that a package or a model made read-only are still ours.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    try:
        _delete_folder(path, stopped)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.ENOTEMPTY):
            raise
        _open_folders(path)
        _delete_folder(path, stopped)


def _delete_folder(path: Path, stopped: Callable[[], bool]) -> None:
    for place, folders, names in os.walk(path, topdown=False):
        if stopped():
            return
        for name in names:
            Path(place, name).unlink()
        for name in folders:
            below = Path(place, name)
            if below.is_symlink():
                below.unlink()
        Path(place).rmdir()


def _open_folders(path: Path) -> None:
    path.chmod(0o700)
    for place, names, _ in os.walk(path):
        for name in names:
            folder = Path(place, name)
            if not folder.is_symlink():
                folder.chmod(0o700)


def empty(folders: Iterable[Path], stopped: Callable[[], bool] = never) -> list[tuple[Path, OSError]]:
    """Delete what is in the trashes of these folders; gives what would not go, and why."""
    failed = []
    for folder in folders:
        try:
            left = list((folder / TRASH).iterdir())
        except OSError:
            continue
        for path in left:
            try:
                delete(path, stopped)
            except OSError as error:
                failed.append((path, error))
    return failed


def size_of(path: Path, counted: set[tuple[int, int]]) -> int:
    """The bytes of a file or of all in a folder, links not followed; what has several names counts once (`counted`)."""
    try:
        total = _size(path.lstat(), counted)
    except OSError:
        return 0
    if path.is_symlink() or not path.is_dir():
        return total
    total = 0
    for place, _, names in os.walk(path):
        for name in names:
            try:
                total += _size(Path(place, name).lstat(), counted)
            except OSError:
                continue
    return total


def _size(found: os.stat_result, counted: set[tuple[int, int]]) -> int:
    if found.st_nlink > 1:
        inode = (found.st_dev, found.st_ino)
        if inode in counted:
            return 0
        counted.add(inode)
    return found.st_size
