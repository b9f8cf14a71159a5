"""What a yard keeps, without a yard around it: rows of every kind that a backup must know, and all that they name."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.accounts import Accounts
from modelyard.backup import making
from modelyard.blobs.disk import DiskBlobs
from modelyard.db import copies, migrations
from modelyard.db.base import Database, Statement
from modelyard.db.postgres import PostgresDatabase
from modelyard.db.sqlite import SqliteDatabase
from modelyard.files import Files
from modelyard.models.service import Models
from modelyard.oci.manifest import blob_key
from modelyard.predictions import journal as journals
from modelyard.predictions import statements
from modelyard.predictions.outputs import Outputs
from modelyard.predictions.record import Prediction, Status
from modelyard.registry.repositories import Repositories, StoredManifest

_ADD_META = Statement("add_meta", "INSERT INTO meta (key, value) VALUES ('outputs_secret', :value)")
NOW = 1_700_000_000_000_000
SECRET = b"secret of a test"
LAYER = bytes(range(256)) * 1000
# What a text may hold: a NUL is kept by SQLite alone.
WORDS = "räksmörgås \U0001f980 \\ \" ' \n\t"


@dataclass(frozen=True, slots=True)
class Made:
    """Where a yard's rows and files are."""

    database_url: str
    data: Path

    @property
    def source(self) -> making.Source:
        return making.Source(
            database_url=self.database_url,
            data=self.data,
            version="0.1.0",
            clock=lambda: NOW,
            blobs=DiskBlobs(self.data / "blobs"),
        )

    def rows(self, table: str) -> list[dict[str, Any]]:
        """The rows of a table, in the order of their values."""
        with copies.snapshot(self.database_url) as snapshot:
            columns = snapshot.tables[table]
            found = [dict(zip(columns, row, strict=True)) for row in snapshot.rows(table)]
        return sorted(found, key=repr)

    def blobs(self) -> dict[str, bytes]:
        root = self.data / "blobs"
        found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
        return {key: path.read_bytes() for key, path in sorted(found.items()) if not key.startswith(".")}


def number(count: int) -> str:
    """An id."""
    return f"{count:026d}"


@asynccontextmanager
async def opened(database_url: str) -> AsyncIterator[Database]:
    path = migrations.sqlite_path(database_url)
    database: Database = PostgresDatabase(database_url) if path is None else SqliteDatabase(path, fsync="process")
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def make(database_url: str, data: Path) -> Made:
    """A yard with an account, a model with an image, files, and predictions in every state."""
    blobs = DiskBlobs(data / "blobs")
    async with opened(database_url) as db:
        await db.run(_ADD_META, {"value": SECRET.decode()})
        accounts = Accounts(db, lambda: NOW)
        owner = await accounts.create("ada", WORDS)
        await accounts.create_token(owner.id, "test", "r8_" + "a" * 37)
        await Models(db, lambda: NOW).create("ada", "hello")
        repositories = Repositories(db, lambda: NOW)
        digest = "sha256:" + hashlib.sha256(LAYER).hexdigest()
        for kind in ("layer", "manifest"):
            await blobs.put(blob_key(digest), LAYER)
            if kind == "layer":
                await repositories.add_blob("ada/hello", digest, len(LAYER))
            else:
                stored = StoredManifest(digest=digest, media_type="x", size=len(LAYER), blob_key=blob_key(digest))
                await repositories.add_manifest("ada/hello", stored, "latest")
        file = await Files(db, blobs, lambda: NOW).create(owner.id, b"an upload", name="a.txt")
        outputs = Outputs(blobs, SECRET)
        link = outputs.placeholder.decode() + outputs.path(number(1), 0, "out put.png")
        await blobs.put(outputs.key(number(1), 0, "out put.png"), b"an image")
        records = [
            prediction(1, output=f'["{link}"]'.encode(), metrics=b'{"predict_time":0.25}'),
            prediction(2, "failed", error=WORDS, journal=True, logs="the end of it"),
            prediction(3, "starting", input=f'{{"image":"http://x/v1/files/{file.id}"}}'.encode()),
            prediction(
                4,
                "processing",
                started_at=NOW,
                lease_node="main",
                lease_epoch=1,
                instance_id="i",
                attempts=2,
                journal=True,
            ),
        ]
        for record in records:
            await db.run(statements.INSERT, statements.values(record))
        for count in (2, 4):
            said = journals.Journal(data / "journals" / number(count)[-2:] / f"{number(count)}.journal")
            said.add_log("all that it said\n")
            said.seq = 1
            said.write()
            said.close()
    return Made(database_url, data)


def prediction(count: int, status: str = "succeeded", **values: Any) -> Prediction:
    known: dict[str, Any] = {
        "id": number(count),
        "account_id": "ada",
        "model_id": "m",
        "model": "ada/hello",
        "version_id": "1" * 64,
        "status": Status(status),
        "created_at": NOW + count,
        "completed_at": None if status in ("starting", "processing") else NOW + count + 5,
    }
    return Prediction(**{**known, **values})


async def write(made: Made, path: Path) -> Path:
    """A backup in a file."""
    await making.write(made.source, path)
    return path
