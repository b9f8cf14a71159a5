"""Files that callers uploaded: their bytes in blobs, what is known of them in rows, signed downloads."""

from __future__ import annotations

import base64
import builtins
import hashlib
import hmac
import mimetypes
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from modelyard import errors, ids
from modelyard.blobs.base import Blobs
from modelyard.db.base import Database, Row, Statement

MAX_NAME_BYTES = 255
MAX_FILE_BYTES = 100 * 1024 * 1024
DEFAULT_TYPE = "application/octet-stream"
# What the first bytes of a file tell about its type, for uploads that do not say.
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"GIF8", 0, "image/gif"),
    (b"WEBP", 8, "image/webp"),
    (b"BM", 0, "image/bmp"),
    (b"II*\x00", 0, "image/tiff"),
    (b"MM\x00*", 0, "image/tiff"),
    (b"%PDF-", 0, "application/pdf"),
    (b"WAVE", 8, "audio/x-wav"),
    (b"ID3", 0, "audio/mpeg"),
    (b"\xff\xfb", 0, "audio/mpeg"),
    (b"fLaC", 0, "audio/flac"),
    (b"OggS", 0, "audio/ogg"),
    (b"ftyp", 4, "video/mp4"),
    (b"\x1aE\xdf\xa3", 0, "video/webm"),
    (b"PK\x03\x04", 0, "application/zip"),
    (b"\x1f\x8b", 0, "application/gzip"),
)
HEAD_BYTES = 16
_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,100}/[A-Za-z0-9!#$&^_.+-]{1,100}")
_SUFFIX = re.compile(r"\.[a-z0-9]{1,10}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Files that the yard made of data URIs in an input; they are the input's, and not listed among a caller's uploads.
_INLINE = '{"modelyard":"inline"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A row of `files`. Times in microseconds, `size` in bytes, hashes in hexadecimal."""

    id: str
    account_id: str
    name: str
    content_type: str
    size: int
    md5: str
    sha256: str
    metadata: Mapping[str, Any]
    blob_key: str
    created_at: int
    expires_at: int | None = None


_COLUMNS = ", ".join(File.__dataclass_fields__)
_INSERT = Statement(
    "insert_file",
    f"INSERT INTO files ({_COLUMNS}) VALUES ({', '.join(':' + c for c in File.__dataclass_fields__)})",  # noqa: S608
)
_GET = Statement("get_file", f"SELECT {_COLUMNS} FROM files WHERE id = :id")  # noqa: S608
_LIST = Statement(
    "list_files",
    f"SELECT {_COLUMNS} FROM files WHERE account_id = :account_id AND metadata <> :inline"  # noqa: S608
    " AND (created_at < :before_at OR (created_at = :before_at AND id < :before_id))"
    " ORDER BY created_at DESC, id DESC LIMIT :limit",
)
_OLD = Statement(
    "old_files",
    f"SELECT {_COLUMNS} FROM files WHERE id > :after AND (created_at < :before OR expires_at < :now)"  # noqa: S608
    " ORDER BY id LIMIT :limit",
)
_DELETE = Statement("delete_file", "DELETE FROM files WHERE id = :id", by_key=True)


def clean_name(name: str) -> str:
    """A file name without folders and control characters, at most 255 bytes long; `file` when nothing is left."""
    plain = _CONTROL.sub("", name.replace("\\", "/").rpartition("/")[2]).strip()
    plain = plain.encode("utf-8", "replace")[:MAX_NAME_BYTES].decode("utf-8", "ignore")
    return plain if plain.strip(".") else "file"


def content_type(given: str, name: str, head: bytes) -> str:
    """The type of a file: what its sender said, else what its first bytes say, else what its name says."""
    said = given.partition(";")[0].strip().lower()
    if _TYPE.fullmatch(said) and said != DEFAULT_TYPE:
        return said
    for magic, offset, kind in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return kind
    return mimetypes.guess_type(name)[0] or DEFAULT_TYPE


def _extension(name: str, kind: str) -> str:
    suffix = Path(name).suffix.lower()
    return suffix if _SUFFIX.fullmatch(suffix) else mimetypes.guess_extension(kind) or ""


def _file(row: Row) -> File:
    return File(**{**row, "metadata": msgspec.json.decode(row["metadata"] or "{}", type=dict[str, Any])})


class Files:
    """Uploaded files. `clock`: microseconds since 1970; `has_room`: may the disk take more?"""

    def __init__(
        self, db: Database, blobs: Blobs, clock: Callable[[], int], has_room: Callable[[], bool] = lambda: True
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._clock = clock
        self._has_room = has_room

    async def create(
        self,
        account_id: str,
        content: AsyncIterator[bytes] | bytes | Path,
        *,
        name: str,
        kind: str = DEFAULT_TYPE,
        head: bytes = b"",
        metadata: Mapping[str, Any] | None = None,
        inline: bool = False,
    ) -> File:
        """Store a file; `head` are its first bytes. `inline`: it came inside an input and is not listed.

        Raises OutOfSpace when the disk is full, or nearly so.
        """
        if not self._has_room():
            raise errors.OutOfSpace("The yard's disk is nearly full; no files are taken until there is room.")
        file_id = ids.new_id()
        plain = clean_name(name)
        kind = content_type(kind, plain, head)
        # The path has an extension: a model may look at it.
        key = f"files/{file_id}/file{_extension(plain, kind)}"
        stat = await self._blobs.put(key, content)
        file = File(
            id=file_id,
            account_id=account_id,
            name=plain,
            content_type=kind,
            size=stat.size,
            md5=stat.md5,
            sha256=stat.sha256,
            metadata=metadata or {},
            blob_key=key,
            created_at=self._clock(),
        )
        row = {field: getattr(file, field) for field in File.__dataclass_fields__}
        row["metadata"] = _INLINE if inline else msgspec.json.encode(file.metadata).decode()
        try:
            await self._db.run(_INSERT, row)
        except errors.ModelyardError:
            await self._blobs.delete(key)
            raise
        return file

    async def get(self, account_id: str, file_id: str) -> File | None:
        """The account's file with this id."""
        file = await self.find(file_id)
        return file if file is not None and file.account_id == account_id else None

    async def find(self, file_id: str) -> File | None:
        """Anybody's file with this id, for those who were shown a signature."""
        row = await self._db.one(_GET, id=file_id) if ids.is_id(file_id) else None
        file = None if row is None else _file(row)
        expired = file is not None and file.expires_at is not None and file.expires_at <= self._clock()
        return None if expired else file

    async def inline(self, account_id: str, file_id: str) -> File | None:
        """The account's file with this id, if it came inside an input."""
        row = await self._db.one(_GET, id=file_id)
        return _file(row) if row and row["account_id"] == account_id and row["metadata"] == _INLINE else None

    async def old(self, before: int, *, after: str = "", limit: int) -> builtins.list[File]:
        """A batch of anybody's files that came before this moment (microseconds) or have expired, by id."""
        rows = await self._db.all(_OLD, before=before, now=self._clock(), after=after, limit=limit)
        return [_file(row) for row in rows]

    async def list(self, account_id: str, *, limit: int, before: tuple[int, str] | None = None) -> builtins.list[File]:
        """A page of the account's files, newest first; `before` is (created_at, id) of the last one seen."""
        at, last = before or (2**62, "")
        rows = await self._db.all(
            _LIST, account_id=account_id, inline=_INLINE, before_at=at, before_id=last, limit=limit
        )
        return [_file(row) for row in rows]

    async def delete(self, file: File) -> None:
        """Take a file away: its row first, so that nothing ever points at missing bytes."""
        await self._db.run(_DELETE, {"id": file.id})
        await self._blobs.delete(file.blob_key)

    async def expire(self, file: File) -> None:
        """Take an old file away: its bytes first, so that what fails is found again by its row. Raises OSError."""
        await self._blobs.delete(file.blob_key)
        await self._db.run(_DELETE, {"id": file.id})


def signature(secret: str, owner: str, file_id: str, expiry: int) -> str:
    """What makes a download address valid until `expiry` (seconds since 1970): base64 of an HMAC-SHA256."""
    text = f"{owner} {file_id} {expiry}".encode()
    return base64.b64encode(hmac.digest(secret.encode(), text, hashlib.sha256)).decode()


def verify(secret: str, owner: str, file_id: str, expiry: int, given: str) -> bool:
    """Is this the signature of that download? (Whether it has expired is another question.)"""
    return hmac.compare_digest(signature(secret, owner, file_id, expiry).encode(), given.encode())
