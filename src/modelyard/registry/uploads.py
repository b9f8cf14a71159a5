"""Uploads that are on their way: each a file in a folder, so that they outlive a restart and are picked up where they
stopped. What is written is hashed as it comes; nothing counts as a blob before its digest was found to be right."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard import errors, ids
from modelyard.registry import problems

if TYPE_CHECKING:
    from hashlib import _Hash

_PIECE = 1024 * 1024
# Pieces smaller than this are written where they are: handing them to a thread costs more.
_WORTH_A_THREAD = 256 * 1024
_REMEMBERED = 1000


@dataclass(slots=True)
class _Progress:
    """The hash of an upload's first `size` bytes."""

    size: int = 0
    hash: _Hash = field(default_factory=hashlib.sha256)


class Uploads:
    """The uploads below one folder. An upload belongs to the repository that it was begun for.

    `has_room`: may the disk take more?
    """

    def __init__(self, folder: Path, has_room: Callable[[], bool] = lambda: True) -> None:
        self.folder = folder
        self.has_room = has_room
        self._progress: dict[str, _Progress] = {}
        self._busy: set[str] = set()

    def begin(self, repository: str) -> str:
        """A new upload's id. Raises OutOfSpace when the disk is nearly full."""
        if not self.has_room():
            raise errors.OutOfSpace("The yard's disk is nearly full; nothing can be pushed until there is room.")
        upload = ids.new_id()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._owner(upload).write_text(repository)
            self._data(upload).touch()
        except OSError as error:
            with contextlib.suppress(OSError):
                self.drop(upload)
            raise errors.OutOfSpace(f"no upload could be begun: {error.strerror}") from None
        return upload

    def size(self, repository: str, upload: str) -> int:
        """How many bytes of it are here. Raises UploadUnknownError."""
        try:
            if ids.is_id(upload) and self._owner(upload).read_text() == repository:
                return self._data(upload).stat().st_size
        except FileNotFoundError:
            pass
        raise problems.UploadUnknownError(f"there is no upload {upload!r} in {repository}")

    async def append(self, repository: str, upload: str, chunks: AsyncIterator[bytes], start: int | None = None) -> int:
        """Write what comes to the end of the upload; returns its size then.

        `start`: where the caller believes that the end is. Raises UploadUnknownError, RangeInvalidError, OutOfSpace.
        What came before a broken connection stays; what filled the disk goes.
        """
        size = self.size(repository, upload)
        if start is not None and start != size:
            raise problems.RangeInvalidError(
                f"the piece begins at byte {start}, and {size} bytes are here",
                {"Range": f"0-{max(0, size - 1)}", "Location": f"/v2/{repository}/blobs/uploads/{upload}"},
            )
        if upload in self._busy:
            raise problems.UploadInvalidError("another request is writing to this upload")
        self._busy.add(upload)
        try:
            progress = await self._hashed(upload, size)
            await self._write(upload, progress, chunks)
            return progress.size
        except OSError as error:
            # What came is worth less than the room that it takes: the yard has work to finish.
            self.drop(upload)
            raise errors.OutOfSpace(
                f"the upload could not be written and was given up: {error.strerror}",
                hint="Make room on the disk that holds the data folder, and push again.",
            ) from None
        finally:
            self._busy.discard(upload)

    async def _write(self, upload: str, progress: _Progress, chunks: AsyncIterator[bytes]) -> None:
        # Forgotten until all is well: a hash that ran ahead of the file must not be trusted.
        self._progress.pop(upload, None)
        with self._data(upload).open("ab") as file:
            try:
                # Of another process that shares the folder; within this one `_busy` says it.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise problems.UploadInvalidError("another request is writing to this upload") from None
            if file.tell() != progress.size:
                raise problems.UploadInvalidError("another request wrote to this upload")
            async for chunk in chunks:
                if len(chunk) < _WORTH_A_THREAD:
                    progress.hash.update(chunk)
                    file.write(chunk)
                else:
                    await asyncio.to_thread(progress.hash.update, chunk)
                    await asyncio.to_thread(file.write, chunk)
                progress.size += len(chunk)
        if len(self._progress) >= _REMEMBERED:
            self._progress.clear()
        self._progress[upload] = progress

    async def _hashed(self, upload: str, size: int) -> _Progress:
        """The hash of what is here: kept from the piece before, or made again from the file."""
        known = self._progress.get(upload)
        if known is not None and known.size == size:
            return known
        return await asyncio.to_thread(_hash_file, self._data(upload)) if size else _Progress()

    async def finish(self, repository: str, upload: str, digest: str) -> Path:
        """The file of a whole upload, found to have this digest; the caller takes it. Raises DigestInvalidError."""
        progress = await self._hashed(upload, self.size(repository, upload))
        found = "sha256:" + progress.hash.hexdigest()
        if found != digest:
            self.drop(upload)
            raise problems.DigestInvalidError(f"the digest of what came is {found}, announced was {digest}")
        return self._data(upload)

    def drop(self, upload: str) -> None:
        """Forget an upload and what came of it."""
        self._progress.pop(upload, None)
        for path in (self._data(upload), self._owner(upload)):
            path.unlink(missing_ok=True)

    def abandoned(self, older_than: float, empty_older_than: float) -> dict[str, int]:
        """What nobody wrote to since `older_than`, and what came to nothing since `empty_older_than` (seconds since
        1970): its bytes by its id."""
        found = {}
        # One that was cut off while it was begun has no bytes, only the name of its repository.
        for path in self.folder.glob("*.*"):
            with contextlib.suppress(OSError):
                if path.suffix == ".repository" and path.with_suffix(".part").exists():
                    continue
                facts = path.stat()
                size = facts.st_size if path.suffix == ".part" else 0
                before = older_than if size else empty_older_than
                if facts.st_mtime < before and path.stem not in self._busy:
                    found[path.stem] = size
        return found

    def give_up(self, upload: str, size: int, set_aside: Callable[[Path], Path]) -> Path | None:
        """Have the `size` bytes of one set aside, and forget it; gives where they are. None when somebody is writing to
        it, or wrote to it since.

        Raises what `set_aside` raises.
        """
        data = self._data(upload)
        if upload in self._busy or (data.exists() and data.stat().st_size != size):
            return None
        aside = set_aside(data if data.exists() else self._owner(upload))
        self.drop(upload)
        return aside

    def _data(self, upload: str) -> Path:
        return self.folder / f"{upload}.part"

    def _owner(self, upload: str) -> Path:
        return self.folder / f"{upload}.repository"


def _hash_file(path: Path) -> _Progress:
    progress = _Progress()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            progress.hash.update(piece)
            progress.size += len(piece)
    return progress
