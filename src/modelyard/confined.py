"""Files that somebody names who is not trusted: they are opened below a folder, or not at all.

Whoever can write into a folder can put a link there that leads elsewhere, and change it between a look and a use. So
every step of the way is opened by itself, links are refused, and what is used is the open file.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path


class OutsideError(OSError):
    """A path leads out of the folder, or to something that is no plain file."""


@contextlib.contextmanager
def opened(root: Path, path: str) -> Iterator[Path]:
    """A plain file below `root`, as a path that means this very file until it is left. Raises OSError."""
    try:
        parts = Path(path).relative_to(root).parts
    except ValueError:
        parts = ("..",)
    if not parts or ".." in parts:
        raise OutsideError(f"the file {path!r} is not in the folder of its prediction")
    file = _open(root, parts, path)
    try:
        yield Path(f"/dev/fd/{file}")
    finally:
        os.close(file)


def _open(root: Path, parts: tuple[str, ...], path: str) -> int:
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = below
        # Not waiting: a pipe without a writer would be waited for.
        file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError as error:
        raise OutsideError(f"the file {path!r} cannot be opened: {error.strerror}") from error
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OutsideError(f"the file {path!r} is no plain file")
    return file
