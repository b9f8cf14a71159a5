"""What every source says of itself and gives."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from modelyard import errors
from modelyard.weights.cache import Cache

Keeps = Callable[[str], bool]
Progress = Callable[[int], None]


class SourceError(errors.ModelyardError):
    """Files cannot be had from where cog.yaml says."""

    status = 422
    code = "weight_source"
    title = "A source of weights cannot be read"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file. `origin`: its path here or its address; `digest`, `size`: where the source says them.

    `validator`: the entity tag or date of its content.
    """

    path: str
    origin: Path | str
    size: int | None = None
    digest: str | None = None
    validator: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The files that are taken of a source. `fingerprint` changes when its content does."""

    fingerprint: str
    files: tuple[SourceFile, ...]


class Source(Protocol):
    """A kind of source. Its `fetch` may be called by several threads at once."""

    def look(self, uri: str, keeps: Keeps) -> Inventory:
        """What there is now. Raises SourceError, and what the network raises."""
        ...

    def fetch(self, file: SourceFile, cache: Cache, progress: Progress) -> str:
        """Bring a file into the store; gives its digest."""
        ...


def partial_name(*parts: str) -> str:
    """What a file on its way is called: the same for the same content of the same place."""
    return "get-" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]
