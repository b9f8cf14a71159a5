"""The blobs port: bytes by key, written once, read whole or in part.

Keys are `/`-separated names that we made, never what a user typed: `oci/sha256/<hex>`, `files/<id>`,
`outputs/<prediction>/<number>/<name>`. A put is atomic: a key is either absent, or whole.
"""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from modelyard import errors

# Nothing new is taken while less than this share of a disk is free: what goes on has to come to its end.
MIN_FREE_SHARE = 0.05
LONGEST_NAME_BYTES = 255
LONGEST_KEY_BYTES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """What is known of a blob. `size` in bytes; `sha256` and `md5` in hex, empty where `stat` cannot know them."""

    key: str
    size: int
    sha256: str = ""
    md5: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A blob in a list. `size` in bytes; `modified`: when it was put, in microseconds since 1970."""

    key: str
    size: int
    modified: int


class Held(Protocol):
    """Blobs that stay to be read though they are deleted meanwhile."""

    async def stat(self, key: str) -> Stat | None:
        """The size of what is there, or was there when the holding began; None when there is no such blob."""

    async def open(self, key: str) -> AsyncIterator[bytes]:
        """Its bytes. Raises `errors.NotFound`, before the first piece."""


class Blobs(Protocol):
    """Where bytes live. A key that `check_key` refuses raises its error everywhere.

    Trouble with what the bytes lie on is an OSError everywhere; where they lie on another machine, it is also
    `errors.Unavailable`.
    """

    async def put(self, key: str, content: AsyncIterator[bytes] | bytes | Path, *, move: bool = False) -> Stat:
        """Keep `content` under `key`, in place of what was there; returns size and digests, once it is safe.

        `move`: a path's file is taken rather than copied; nobody may write to it any more.
        Raises `errors.OutOfSpace`; what `content` itself raises goes through, and nothing is kept.
        """

    async def open(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`. Raises `errors.NotFound`, before the first piece.

        What was opened is read to its end, whatever happens to the key meanwhile.
        """

    async def stat(self, key: str) -> Stat | None:
        """Its size; None when there is no such blob."""

    async def delete(self, key: str) -> None:
        """Forget it; nothing happens when there is none."""

    async def delete_below(self, prefix: str) -> None:
        """Forget every blob whose key begins with the names in `prefix`, all at once; nothing where there is none."""

    async def list(self, *prefixes: str) -> builtins.list[Listed]:
        """Every blob whose key begins with the names in one of these (`outputs/01abc`), one prefix after the other, by
        key. What is put or deleted meanwhile may be in it or not."""

    def hold(self) -> AbstractAsyncContextManager[Held]:
        """Until it is left, what is deleted is gone for everybody but whoever holds."""

    def path(self, key: str) -> Path | None:
        """A file on this machine that is the blob, for whoever reads all of it; None where there is none."""

    async def place(self, key: str) -> Path | None:
        """Where on this machine a file with the bytes is, or will be once it was brought; None when there is no such
        blob."""

    async def bring(self, path: Path) -> None:
        """Have the file at a `place`, for an hour at least. Raises `errors.NotFound` when the blob is gone."""

    def free_fraction(self) -> float:
        """How much room there is where a put begins on this machine, 0 to 1."""

    def discard_unfinished(self) -> None:
        """Remove what a killed process left half done. Only while nobody else puts: at the start."""


async def read(blobs: Blobs, key: str, end: int | None = None) -> bytes:
    """A small blob, whole or up to `end`. Raises `errors.NotFound`."""
    return b"".join([piece async for piece in await blobs.open(key, 0, end)])


def check_key(key: str) -> tuple[str, ...]:
    """The names in a key. Raises `errors.BadRequest` for what could lead elsewhere than into the store.

    >>> check_key("files/01abc")
    ('files', '01abc')
    """
    names = tuple(key.split("/"))
    if len(key.encode("utf-8", "replace")) > LONGEST_KEY_BYTES or not all(map(_is_name, names)):
        raise errors.BadRequest(f"{key[:100]!r} is not a key: names separated by single slashes are wanted")
    return names


def _is_name(name: str) -> bool:
    return (
        0 < len(name.encode("utf-8", "replace")) <= LONGEST_NAME_BYTES
        # A leading dot is kept for the store itself.
        and not name.startswith(".")
        and "\\" not in name
        and name.isprintable()
    )
