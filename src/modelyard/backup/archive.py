"""The file of a backup: a tar whose members tell in the end what each of them must be.

In their order:

    backup.json                  what this is: `Header`
    rows/<table>/<number>.jsonl  rows as they were at one moment: a line of column names, then a line of values a row
    contents.json                what follows: counts and bytes
    secret.key                   what secrets are sealed with, where there is one
    journals/<xx>/<id>.journal   the long logs and outputs of predictions that have ended
    blobs/<key>                  files, outputs, layers, manifests
    sums/<number>.jsonl          name, size and sha256 of the members before it, now and then
    end.json                     how many members there were, and the sha256 of all sums; without it the file is cut off

Everything is written and read in one pass, so that a backup can come over a network and go through a pipe.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import IO, Any, Literal, Protocol, cast

import msgspec

from modelyard import errors

FORMAT = 1
HEADER, CONTENTS, END, KEY = "backup.json", "contents.json", "end.json", "secret.key"
ROWS, JOURNALS, BLOBS, SUMS = "rows/", "journals/", "blobs/", "sums/"

PIECE = 1024 * 1024
# So many sums are written at a time: neither side has to remember all of them.
SUMS_TOGETHER = 10_000
_MOST_JSON = 64 * 1024 * 1024


class DamagedBackup(errors.ModelyardError):
    """The file is no backup, or is not whole."""

    code = "damaged_backup"
    title = "The backup is damaged"


class NewerBackup(errors.ModelyardError):
    """The backup was made by a newer yard than this one."""

    code = "newer_backup"
    title = "The backup is of a newer yard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a backup says of itself. `yard`: the version that made it; `revision`, `database`: of its tables.

    `made_at`: microseconds since 1970. `holds`: `yard`, or `rows` where the files were left where they are.
    """

    yard: str
    revision: str
    database: str
    made_at: int
    holds: Literal["yard", "rows"] = "yard"
    format: int = FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a backup holds. `rows`: by table; `bytes`: of the journals and blobs that follow."""

    rows: dict[str, int]
    journals: int
    blobs: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a backup ended. `bytes`: of all members. `missing`: blobs that rows name and that were not there, some of
    them by key; `lacks`: how many."""

    members: int
    bytes: int
    sha256: str
    lacks: int
    missing: list[str]


# -- writing


class Writer:
    """The bytes of a backup, member by member. `at_seconds`: since 1970, the time that members bear."""

    def __init__(self, at_seconds: int) -> None:
        self._at = at_seconds
        self._sums: list[bytes] = []
        self._of_sums = hashlib.sha256()
        self._groups = 0
        self._name = ""
        self._size = self._left = 0
        self._hash = hashlib.sha256()
        self.members = self.bytes = 0

    def begin(self, name: str, size: int) -> bytes:
        """The head of a member whose content, of this size, follows by `piece`."""
        self._name, self._size, self._left = name, size, size
        self._hash = hashlib.sha256()
        return self._head(name, size)

    def piece(self, data: bytes) -> bytes:
        """Some of the content of the member that was begun. Raises DamagedBackup where it is more than announced."""
        self._left -= len(data)
        if self._left < 0:
            raise DamagedBackup(f"{self._name} grew while it was read")
        self._hash.update(data)
        return data

    def finish(self) -> bytes:
        """What follows a member's content; now and then sums. Raises DamagedBackup where content is missing."""
        if self._left:
            raise DamagedBackup(f"{self._name} is shorter than it was a moment before: {self._left} bytes are missing")
        self.members += 1
        self.bytes += self._size
        self._sums.append(_json([self._name, self._size, self._hash.hexdigest()]) + b"\n")
        padding = _padding(self._size)
        return padding + self._write_sums() if len(self._sums) >= SUMS_TOGETHER else padding

    def whole(self, name: str, content: bytes) -> bytes:
        """A member that is at hand."""
        return b"".join((self.begin(name, len(content)), self.piece(content), self.finish()))

    def end(self, missing: list[str], lacks: int) -> bytes:
        """All that is left to say."""
        sums = self._write_sums() if self._sums else b""
        end = End(
            members=self.members, bytes=self.bytes, sha256=self._of_sums.hexdigest(), lacks=lacks, missing=missing
        )
        return sums + self._plain(END, _json(asdict(end))) + bytes(2 * tarfile.BLOCKSIZE)

    def _write_sums(self) -> bytes:
        content = b"".join(self._sums)
        self._sums.clear()
        self._of_sums.update(content)
        self._groups += 1
        return self._plain(f"{SUMS}{self._groups:06}.jsonl", content)

    def _plain(self, name: str, content: bytes) -> bytes:
        return self._head(name, len(content)) + content + _padding(len(content))

    def _head(self, name: str, size: int) -> bytes:
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = size, self._at, 0o600
        return info.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


# -- reading


class Member:
    """One member on its way past: its content comes once, in pieces."""

    def __init__(self, name: str, size: int, content: IO[bytes]) -> None:
        self.name = name
        self.size = size
        self._content = content
        self._hash = hashlib.sha256()
        self._left = size
        self._whole: bytes | None = None

    def pieces(self) -> Iterator[bytes]:
        """The content, or what is left of it. Raises DamagedBackup."""
        while self._left:
            with _damage():
                piece = self._content.read(min(PIECE, self._left))
            if not piece:
                raise DamagedBackup(f"the backup is cut off in {self.name}", hint=_HINT)
            self._left -= len(piece)
            self._hash.update(piece)
            yield piece

    def read(self) -> bytes:
        """The whole content of a member that is small, as often as it is asked for. Raises DamagedBackup."""
        if self.size > _MOST_JSON:
            raise DamagedBackup(f"{self.name} has {self.size:,} bytes; at most {_MOST_JSON:,} are expected", hint=_HINT)
        if self._left or self._whole is None:
            self._whole = b"".join(self.pieces())
        return self._whole

    def passed(self) -> list[Any]:
        """Read what is left, and give its sum."""
        for _ in self.pieces():
            pass
        return [self.name, self.size, self._hash.hexdigest()]


_HINT = "the file is not usable; take another backup, or another copy of this one"


class Stream(Protocol):
    """What a backup is read from: a file, a pipe, a connection."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, none at the end."""


class Reader:
    """Reads a backup from its first to its last byte, and finds out whether it is whole.

    `header` is known at once. Raises DamagedBackup, NewerBackup; what reading `stream` raises goes through.
    """

    def __init__(self, stream: Stream) -> None:
        with _damage("this is no backup of a yard"):
            self._tar = tarfile.open(  # noqa: SIM115 - lives as long as this
                fileobj=cast("IO[bytes]", stream), mode="r|", bufsize=PIECE
            )
        self._stream = stream
        self._sums: list[list[Any]] = []
        self._of_sums = hashlib.sha256()
        self._count = self._bytes = 0
        self.contents: Contents | None = None
        self.end: End | None = None
        first = self._next()
        if first is None or first.name != HEADER:
            raise DamagedBackup("this is no backup of a yard: it does not begin with backup.json")
        self.header = _header(first)
        self._pass(first)

    def members(self) -> Iterator[Member]:
        """Every member between header and end; each is whole and right when the next one is asked for."""
        while (member := self._next()) is not None:
            if member.name == END:
                self._check_end(member)
                self._drain()
                return
            if member.name.startswith(SUMS):
                self._check_sums(member)
                continue
            if member.name == CONTENTS:
                self.contents = _record(Contents, member)
            yield member
            self._pass(member)
        raise DamagedBackup("the backup is cut off: it has no end", hint=_HINT)

    def check(self) -> None:
        """Read all of it, and keep nothing."""
        for _ in self.members():
            pass

    def _next(self) -> Member | None:
        with _damage():
            info = self._tar.next()
            # The library would remember every member that it passes.
            self._tar.members = []  # type: ignore[attr-defined]
            if info is None:
                return None
            content = self._tar.extractfile(info) if info.isreg() else None
        if content is None:
            raise DamagedBackup(f"{info.name!r} in the backup is no plain file", hint=_HINT)
        return Member(info.name, info.size, content)

    def _pass(self, member: Member) -> None:
        self._sums.append(member.passed())
        self._count += 1
        self._bytes += member.size

    def _check_sums(self, member: Member) -> None:
        content = member.read()
        told = [_loads(line, member.name) for line in content.splitlines()]
        for found, wanted in zip(self._sums, told, strict=False):
            if found != wanted:
                raise DamagedBackup(f"{found[0]} in the backup is not what was written", hint=_HINT)
        if len(told) != len(self._sums):
            raise DamagedBackup(f"{member.name} speaks of {len(told)} members, not {len(self._sums)}", hint=_HINT)
        self._of_sums.update(content)
        self._sums.clear()

    def _check_end(self, member: Member) -> None:
        end = _record(End, member)
        found = (self._count, self._bytes, self._of_sums.hexdigest())
        if self._sums or found != (end.members, end.bytes, end.sha256):
            raise DamagedBackup("the sums of the backup are not those that it had when it was written", hint=_HINT)
        self.end = end

    def _drain(self) -> None:
        # Whoever copies what is read here wants the last blocks too.
        with _damage():
            if self._tar.next() is not None:
                raise DamagedBackup("something follows the end of the backup", hint=_HINT)
        while self._stream.read(PIECE):
            pass


@contextlib.contextmanager
def _damage(words: str = "the backup is damaged or cut off") -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise DamagedBackup(f"{words} ({error})", hint=_HINT) from error


def _header(member: Member) -> Header:
    told = _loads(member.read(), HEADER)
    number = told.get("format") if isinstance(told, dict) else None
    if isinstance(number, int) and number > FORMAT:
        raise NewerBackup(
            f"this backup was made by Modelyard {told.get('yard')} in format {number}; this one reads up to {FORMAT}",
            hint=f"restore it with Modelyard {told.get('yard')} or newer",
        )
    header: Header = _as_record(Header, told, HEADER)
    return header


def _record(kind: type[Any], member: Member) -> Any:
    return _as_record(kind, _loads(member.read(), member.name), member.name)


def _as_record(kind: type[Any], told: Any, name: str) -> Any:
    try:
        return msgspec.convert(told, kind)
    except msgspec.ValidationError as error:
        raise DamagedBackup(f"{name} in the backup is not what was expected: {error}", hint=_HINT) from None


def _loads(text: bytes, name: str) -> Any:
    try:
        return json.load(io.BytesIO(text))
    except (ValueError, RecursionError) as error:
        raise DamagedBackup(f"{name} in the backup is not JSON: {error}", hint=_HINT) from None
