"""`file://`: a folder of the project, or anywhere on this machine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelyard.oci.manifest import WrongDigestError
from modelyard.weights import artifact
from modelyard.weights.cache import Cache, digest_of, pieces
from modelyard.weights.sources.base import Inventory, Keeps, Progress, SourceError, SourceFile

_SKIPPED = ".cog"
_MEMO = "weights-digests.json"


class Local:
    """Folders, relative to the project's `root`. What a file's digest was is remembered until the file changes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._memo = _Memo(root / _SKIPPED / _MEMO)

    def look(self, uri: str, keeps: Keeps) -> Inventory:
        folder = self._folder(uri)
        files = []
        for path, entry in _walk(folder, ""):
            if keeps(path):
                where = Path(entry.path)
                found = entry.stat(follow_symlinks=False)
                digest = self._memo.digest(where, found)
                files.append(SourceFile(path=path, origin=where, size=found.st_size, digest=digest))
        self._memo.save()
        files.sort(key=lambda file: file.path)
        fingerprint = artifact.set_digest((file.path, str(file.digest)) for file in files)
        return Inventory(fingerprint=fingerprint, files=tuple(files))

    def fetch(self, file: SourceFile, cache: Cache, progress: Progress) -> str:
        assert isinstance(file.origin, Path)  # noqa: S101 - `look` made it
        try:
            return cache.add(_counted(file.origin, progress), file.digest)
        except WrongDigestError as error:
            raise SourceError(f"{file.origin} changed while it was read: {error.detail}", hint="import again") from None

    def _folder(self, uri: str) -> Path:
        folder = self._root / uri.removeprefix("file://")
        if not folder.exists():
            raise SourceError(f"weight source not found: {uri}", hint=f"it is looked for at {folder}")
        if folder.is_symlink() or not folder.is_dir():
            raise SourceError(
                f"weight source URI is not a directory ({uri})", hint="name its folder, and the file in `include`"
            )
        return folder


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = prefix + entry.name
        if entry.is_symlink():
            raise SourceError(
                f"weight source has a symbolic link: {path}",
                hint="put what it leads to there itself: cp -RL copies a folder so",
            )
        if entry.is_dir(follow_symlinks=False):
            if entry.name != _SKIPPED:
                yield from _walk(Path(entry.path), path + "/")
        elif entry.is_file(follow_symlinks=False):
            yield path, entry
        else:
            raise SourceError(f"weight source has something that is no file: {path}")


def _counted(path: Path, progress: Progress) -> Iterator[bytes]:
    for piece in pieces(path):
        progress(len(piece))
        yield piece


class _Memo:
    """Digests of files that look as they did; it may be deleted at any time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = False
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError):
            found = {}
        self._known: dict[str, Any] = found if isinstance(found, dict) else {}

    def digest(self, path: Path, found: os.stat_result) -> str:
        looks = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
        known = self._known.get(str(path))
        if isinstance(known, list) and known[:4] == looks and len(known) == 5:
            return str(known[4])
        digest = digest_of(path)
        self._known[str(path)] = [*looks, digest]
        self._changed = True
        return digest

    def save(self) -> None:
        if not self._changed:
            return
        self._path.parent.mkdir(exist_ok=True)
        partial = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        partial.write_text(json.dumps(self._known))
        partial.replace(self._path)
        self._changed = False
