"""Archives of a project that uv does not read, as copies that it does: it takes `.tar.gz` and `.zip` alone."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import lzma
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple

# A line of a requirements file or a lock, with the hashes that follow it in a lock.
_LINE: Final = re.compile(
    r"^\./(?P<path>[^\n]*?(?P<kind>\.tgz|\.tar\.bz2|\.tar\.xz))(?P<hashes>(?: \\\n +--hash=[^\n]*)*)$", re.MULTILINE
)
_OPEN: Final[dict[str, Callable[[Path, Literal["rb"]], Any]]] = {
    ".tgz": gzip.open,
    ".tar.bz2": bz2.open,
    ".tar.xz": lzma.open,
}


class ArchiveError(Exception):
    """An archive is not what it should be; the text says which and why."""


class Copies(NamedTuple):
    """`text`: the lines, with copies for what uv cannot read; `made`: the project's own for a copy and its sum."""

    text: str
    made: dict[str, str]

    def undone(self, text: str) -> str:
        """The same text with the names and sums of the project's own archives."""
        for copy, own in self.made.items():
            text = text.replace(copy, own)
        return text


@contextlib.contextmanager
def readable(text: str, base: Path) -> Iterator[Copies]:
    """The lines for uv; copies live as long as the context. Raises ArchiveError."""
    if not _LINE.search(text):
        yield Copies(text, {})
        return
    with tempfile.TemporaryDirectory(prefix="yard-archives-") as name:
        made: dict[str, str] = {}

        def replace(match: re.Match[str]) -> str:
            path, kind = match["path"], match["kind"]
            own = _sum(base / path)
            if match["hashes"] and f"sha256:{own}" not in match["hashes"]:
                raise ArchiveError(f"./{path} is not the archive that the lock was made with")
            copy = Path(name) / str(len(made)) / (Path(path).name.removesuffix(kind) + ".tar.gz")
            copy.parent.mkdir()
            _repack(base / path, kind, copy)
            made[str(copy)] = f"./{path}"
            made[_sum(copy)] = own
            hashes = f" \\\n    --hash=sha256:{_sum(copy)}" if match["hashes"] else ""
            return f"{copy}{hashes}"

        yield Copies(_LINE.sub(replace, text), made)


def _sum(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArchiveError(f"{path.name}: {error.strerror}") from None


def _repack(path: Path, kind: str, copy: Path) -> None:
    try:
        with _OPEN[kind](path, "rb") as packed, copy.open("wb") as target:
            _compress(packed, target)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise ArchiveError(f"{path.name} is no {kind} archive: {error}") from None


def _compress(source: IO[bytes], target: IO[bytes]) -> None:
    # Always the same bytes: no name, no time.
    with gzip.GzipFile(filename="", mode="wb", fileobj=target, compresslevel=1, mtime=0) as packed:
        shutil.copyfileobj(source, packed)
