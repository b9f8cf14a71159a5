"""Blobs as plain files under one folder: a key is a path.

Plain files rather than a store library: a worker can hard-link a blob into its folder, a put is two system calls
more than writing the file, and the disk's own errors arrive unwrapped.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import errno
import os
import shutil
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from modelyard import durable, errors, ids
from modelyard.blobs.base import Listed, Stat, check_key
from modelyard.blobs.local import GATHER, PIECE, Hashed, free_fraction, out_of_space, pieces_of

Fsync = Literal["power", "process"]

# Where blobs are written before they have their name; no key begins with a dot.
UNFINISHED = ".unfinished"
# Where deleted blobs wait for those who still hold them.
HELD = ".held"


class DiskBlobs:
    """`root` is made when missing. `fsync="power"`: a put that returned survives a power cut."""

    def __init__(self, root: Path, fsync: Fsync = "power") -> None:
        self._root = root
        self._sync = fsync == "power"
        self._unfinished = root / UNFINISHED
        self._unfinished.mkdir(parents=True, exist_ok=True)
        self._held = root / HELD
        self._holders = 0
        self._holding = threading.Lock()

    async def put(self, key: str, content: AsyncIterator[bytes] | bytes | Path, *, move: bool = False) -> Stat:
        target = self._target(key)
        temporary = self._unfinished / ids.new_id()
        try:
            with out_of_space():
                if isinstance(content, Path) and move:
                    return await asyncio.to_thread(self._take, content, temporary, target, key)
                if isinstance(content, bytes | Path):
                    return await asyncio.to_thread(self._write, content, temporary, target, key)
                return await self._receive(content, temporary, target, key)
        finally:
            temporary.unlink(missing_ok=True)

    async def open(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        file = await asyncio.to_thread(_open_at, self._target(key), key, start)
        return _pieces(file, None if end is None else end - start)

    async def stat(self, key: str) -> Stat | None:
        path = self.path(key)
        return None if path is None else Stat(key=key, size=path.stat().st_size)

    async def delete(self, key: str) -> None:
        target = self._target(key)
        await asyncio.to_thread(self._delete, target)

    async def delete_below(self, prefix: str) -> None:
        await asyncio.to_thread(self._delete_below, self._target(prefix))

    async def list(self, *prefixes: str) -> builtins.list[Listed]:
        folders = [self._target(prefix) for prefix in prefixes]
        return await asyncio.to_thread(lambda: [listed for folder in folders for listed in _listed(self._root, folder)])

    def path(self, key: str) -> Path | None:
        target = self._target(key)
        return target if target.is_file() else None

    async def place(self, key: str) -> Path | None:
        return self.path(key)

    async def bring(self, path: Path) -> None:
        """What has a place on this disk is there."""

    def free_fraction(self) -> float:
        """How much of the disk is free, 0 to 1."""
        return free_fraction(self._root)

    def discard_unfinished(self) -> None:
        """Remove what a killed process left half written or half deleted. Only while nobody else puts: at the start."""
        for path in self._unfinished.iterdir():
            with contextlib.suppress(OSError):
                _remove(path)
        shutil.rmtree(self._held, ignore_errors=True)

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncIterator[_DiskHeld]:
        with self._holding:
            self._holders += 1
        try:
            yield _DiskHeld(self._root, self._held)
        finally:
            with self._holding:
                self._holders -= 1
                if not self._holders:
                    shutil.rmtree(self._held, ignore_errors=True)

    def _target(self, key: str) -> Path:
        return self._root.joinpath(*check_key(key))

    async def _receive(self, content: AsyncIterator[bytes], temporary: Path, target: Path, key: str) -> Stat:
        with temporary.open("wb", buffering=0) as file:
            hashed = Hashed(file)
            gathered: list[bytes] = []
            length = 0
            async for piece in content:
                gathered.append(piece)
                length += len(piece)
                if length >= GATHER:
                    await asyncio.to_thread(hashed.write, b"".join(gathered))
                    gathered.clear()
                    length = 0
            await asyncio.to_thread(self._finish, hashed, b"".join(gathered), temporary, target)
        return hashed.stat(key)

    def _write(self, content: bytes | Path, temporary: Path, target: Path, key: str) -> Stat:
        with temporary.open("wb", buffering=0) as file:
            hashed = Hashed(file)
            if isinstance(content, bytes):
                self._finish(hashed, content, temporary, target)
            else:
                for piece in pieces_of(content):
                    hashed.write(piece)
                self._finish(hashed, b"", temporary, target)
        return hashed.stat(key)

    def _finish(self, hashed: Hashed, rest: bytes, temporary: Path, target: Path) -> None:
        hashed.write(rest)
        if self._sync:
            os.fsync(hashed.file.fileno())
        self._name(temporary, target)

    def _take(self, source: Path, temporary: Path, target: Path, key: str) -> Stat:
        try:
            source.rename(temporary)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            stat = self._write(source, temporary, target, key)
            source.unlink()
            return stat
        with temporary.open("r+b") as file:
            hashed = Hashed(file)
            for piece in pieces_of(temporary):
                hashed.note(piece)
            self._finish(hashed, b"", temporary, target)
        return hashed.stat(key)

    def _name(self, temporary: Path, target: Path) -> None:
        made = not target.parent.is_dir()
        while True:
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary.replace(target)
                break
            except (FileNotFoundError, FileExistsError):
                # A delete beside us took a folder away when it had become empty, maybe while it was being made.
                if not temporary.exists():
                    raise
        if self._sync:
            for folder in _above(self._root, target) if made else (target.parent,):
                durable.sync(folder)

    def _delete(self, target: Path) -> None:
        with self._holding:
            if self._holders:
                _set_aside(target, self._held / target.relative_to(self._root))
            else:
                target.unlink(missing_ok=True)
        for folder in _above(self._root, target):
            if folder == self._root:
                break
            try:
                folder.rmdir()
            except OSError:
                # Not empty: others live there.
                break

    def _delete_below(self, folder: Path) -> None:
        # Out of the way at once: what is killed in the middle leaves nothing half there.
        aside = self._unfinished / ids.new_id()
        with self._holding, contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if self._holders:
                for listed in _listed(self._root, folder):
                    _set_aside(self._root / listed.key, self._held / listed.key)
            folder.rename(aside)
        _remove(aside)


class _DiskHeld:
    """Looks where blobs are, then where deleted ones wait: one that is deleted in between is in the second place."""

    def __init__(self, *roots: Path) -> None:
        self._roots = roots

    async def stat(self, key: str) -> Stat | None:
        for path in self._paths(key):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found = path.stat()
                return Stat(key=key, size=found.st_size) if path.is_file() else None
        return None

    async def open(self, key: str) -> AsyncIterator[bytes]:
        for path in self._paths(key):
            file = await asyncio.to_thread(_open, path)
            if file is not None:
                return _pieces(file, None)
        raise errors.NotFound(f"there is no blob {key}")

    def _paths(self, key: str) -> list[Path]:
        return [root.joinpath(*check_key(key)) for root in self._roots]


def names(root: Path) -> list[str]:
    """What the keys below a folder of blobs begin with."""
    return sorted(path.name for path in root.iterdir() if not path.name.startswith("."))


def _set_aside(target: Path, aside: Path) -> None:
    if target.is_file():
        aside.parent.mkdir(parents=True, exist_ok=True)
        target.replace(aside)


def _open_at(path: Path, key: str, start: int) -> BinaryIO:
    file = _open(path)
    if file is None:
        raise errors.NotFound(f"there is no blob {key}")
    file.seek(start)
    return file


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb", buffering=0)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


async def _pieces(file: BinaryIO, length: int | None) -> AsyncIterator[bytes]:
    with file:
        while length is None or length > 0:
            piece = await asyncio.to_thread(file.read, PIECE if length is None else min(PIECE, length))
            if not piece:
                break
            if length is not None:
                length -= len(piece)
            yield piece


def _above(root: Path, target: Path) -> Iterator[Path]:
    """The folders of a blob, the innermost first, the root last."""
    folder = target.parent
    while folder != root:
        yield folder
        folder = folder.parent
    yield folder


def _listed(root: Path, folder: Path) -> builtins.list[Listed]:
    found: builtins.list[Listed] = []
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            return [Listed(key=folder.relative_to(root).as_posix(), **_facts(folder))]
    except OSError:
        return found
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            # Names that begin with a dot are ours, and links are nobody's that we know.
            if not name.startswith(".") and not path.is_symlink():
                with contextlib.suppress(FileNotFoundError):
                    found.append(Listed(key=path.relative_to(root).as_posix(), **_facts(path)))
    return sorted(found, key=lambda listed: listed.key)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _facts(path: Path) -> dict[str, int]:
    found = path.stat()
    return {"size": found.st_size, "modified": found.st_mtime_ns // 1000}
