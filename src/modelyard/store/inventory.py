"""What lies in a store, looked at from outside: names, what each belongs to, when it was last used. Nothing is changed.

Links are not followed, and what is not a folder of ours by its place and form is passed over.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modelyard.store.environments import LOCK_FILE

Kind = Literal["environments", "sources", "layers", "leftovers", "copies"]

_HEX = re.compile(r"[0-9a-f]{64}")
# A folder's mark that it is not whole yet, and what is fetched from blobs that lie elsewhere.
_PARTIAL = ".partial"
_INCOMING = "incoming"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One folder (or stray file) of a store. `used_at`: microseconds since 1970.

    `key`: what needs it: of an environment its lock (`lock_key`), of a source its version (the digest of its manifest,
    in hex), of a layer its digest in hex, of a working copy its instance.
    """

    kind: Kind
    path: Path
    key: str
    used_at: int


def lock_key(text: str) -> str:
    """What the environments of a lock belong to, whichever Python they have."""
    return hashlib.sha256(text.encode()).hexdigest()


def use_key(kind: str, key: str) -> str:
    """What it is called among what is used and taken away."""
    return f"store/{kind}/{key}"


def look(root: Path) -> Iterator[Kept]:
    """Everything below a store's root. Walks no deeper than it must."""
    for entry in _entries(root / "environments"):
        if _HEX.fullmatch(entry.name):
            yield Kept(kind="environments", path=Path(entry.path), key=_lock_of(entry), used_at=_changed(entry))
        elif entry.name.endswith(_PARTIAL):
            yield _leftover(entry)
    for kind in ("sources", "layers"):
        for entry in _entries(root / kind):
            if _HEX.fullmatch(entry.name):
                yield Kept(kind=kind, path=Path(entry.path), key=entry.name, used_at=_changed(entry))
            elif entry.name.endswith(_PARTIAL):
                yield _leftover(entry)
    for entry in _entries(root / _INCOMING):
        yield _leftover(entry)
    for entry in _entries(root / "instances"):
        yield Kept(kind="copies", path=Path(entry.path), key=entry.name, used_at=_changed(entry))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


def _leftover(entry: os.DirEntry[str]) -> Kept:
    return Kept(kind="leftovers", path=Path(entry.path), key=entry.name, used_at=_changed(entry))


def _changed(entry: os.DirEntry[str]) -> int:
    return entry.stat(follow_symlinks=False).st_mtime_ns // 1000


def _lock_of(entry: os.DirEntry[str]) -> str:
    # An environment without its lock is no one's: it was not made by us, or somebody took it apart.
    try:
        return lock_key(Path(entry.path, LOCK_FILE).read_text()) if not entry.is_symlink() else ""
    except (OSError, UnicodeDecodeError):
        return ""
