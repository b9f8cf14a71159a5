"""Files of weights on this machine, each once, by the digest of its content.

    <root>/weights/files/sha256/<ab>/<hex>     a whole file, which nobody may write to
    <root>/weights/partial/                    what is on its way, in the same filesystem
    <root>/weights/projects/<hex>              where a weights.lock lies whose files are here

Everything here can be fetched again, and may be deleted at any time, also by hand.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from modelyard import durable
from modelyard.oci.manifest import WrongDigestError, is_digest

PIECE_BYTES = 1024 * 1024


def home(environ: Mapping[str, str]) -> Path:
    """The folder of caches: `COG_CACHE_DIR`, else `cog` in the user's cache."""
    if environ.get("COG_CACHE_DIR"):
        return Path(environ["COG_CACHE_DIR"]).expanduser().absolute()
    above = environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path in this variable is to be ignored.
    if not os.path.isabs(above):  # noqa: PTH117 - an empty text too
        return Path(environ.get("HOME") or Path("~").expanduser()) / ".cache" / "cog"
    return Path(above) / "cog"


class Cache:
    """The store below a folder of caches. Several processes and threads at once are fine."""

    def __init__(self, root: Path) -> None:
        self.root = root / "weights"
        self._files = self.root / "files" / "sha256"
        self._partial = self.root / "partial"
        self._projects = self.root / "projects"

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Cache:
        """The one that these variables name."""
        return cls(home(environ))

    def path(self, digest: str) -> Path:
        """Where the file with this digest lies, if it is here. Raises WrongDigestError for what is no digest."""
        if not is_digest(digest):
            raise WrongDigestError(f"{digest!r} is no digest: sha256: and 64 hexadecimal digits are wanted")
        name = digest.removeprefix("sha256:")
        return self._files / name[:2] / name

    def has(self, digest: str, size: int | None = None) -> bool:
        """Is it here, whole? `size`: how long it must be."""
        path = self.path(digest)
        try:
            found = path.stat()
        except OSError:
            return False
        return path.is_file() and size in (None, found.st_size)

    def note(self, lock: Path) -> None:
        """The weights that this weights.lock names are used here, for `pruning`."""
        text = str(lock.absolute())
        note = self._projects / hashlib.sha256(text.encode()).hexdigest()[:16]
        if not note.exists():
            with contextlib.suppress(OSError):  # a store that nobody may write to is read all the same
                self._projects.mkdir(parents=True, exist_ok=True)
                with self._temporary() as path:
                    path.write_text(text)
                    path.replace(note)

    def noted(self) -> Iterator[Path]:
        """Each weights.lock that was noted and is still there."""
        return (path for note in sorted(self._projects.glob("*")) if (path := Path(note.read_text())).exists())

    def files(self) -> Iterator[Path]:
        """All whole files."""
        return (path for path in self._files.glob("??/*") if len(path.name) == 64 and path.is_file())

    def unfinished(self) -> Iterator[Path]:
        """All that is on its way, or was."""
        return (path for path in self._partial.glob("*") if path.is_file())

    def add(self, content: Path | Iterable[bytes], digest: str | None = None) -> str:
        """Keep a copy of `content`; gives its digest. Raises WrongDigestError where that is not `digest`, and OSError.

        The bytes are checked as they are written; nothing is left of what is refused.
        """
        with self._temporary() as path:
            hasher = hashlib.sha256()
            with path.open("wb") as file:
                for piece in pieces(content) if isinstance(content, Path) else content:
                    hasher.update(piece)
                    file.write(piece)
            found = "sha256:" + hasher.hexdigest()
            if digest is not None and found != digest:
                raise WrongDigestError(f"the digest of what came is {found}, wanted: {digest}")
            self.adopt(path, found)
        return found

    def adopt(self, path: Path, digest: str) -> None:
        """Take over a file below `partial`, whose digest is known to be this one. Raises OSError."""
        kept = self.path(digest)
        path.chmod(0o444)
        durable.sync(path)
        kept.parent.mkdir(parents=True, exist_ok=True)
        path.replace(kept)
        durable.sync(kept.parent)

    def partial(self, name: str) -> Path:
        """Where something that is on its way is gathered, so that it can go on another time."""
        self._partial.mkdir(parents=True, exist_ok=True)
        return self._partial / name

    @contextlib.contextmanager
    def claim(self, name: str) -> Iterator[Path]:
        """The same for this alone, until it is done: whoever else wants it waits. It may be moved away meanwhile."""
        path = self.partial(name)
        while True:
            with path.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                # Whoever had it before may have moved it to its place.
                if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    yield path
                    return

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[Path]:
        self._partial.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix="new-", dir=self._partial)
        os.close(descriptor)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)


def pieces(path: Path) -> Iterator[bytes]:
    """A file's bytes, some at a time."""
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def digest_of(path: Path) -> str:
    """`sha256:<hex>` of a file."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
