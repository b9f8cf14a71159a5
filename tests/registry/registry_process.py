"""A registry as a process of its own: `python registry_process.py DATABASE_URL FOLDER` prints its port."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from modelyard.accounts import Account, Actor
from modelyard.blobs.disk import DiskBlobs
from modelyard.db.base import Database
from modelyard.db.postgres import PostgresDatabase
from modelyard.db.sqlite import SqliteDatabase
from modelyard.registry.api import make_routes
from modelyard.registry.images import Arrival
from modelyard.registry.uploads import Uploads

OWNER = Actor(account=Account(id="owner", username="owner", name="owner", type="user"), token_id="t")


async def _owner(header: bytes) -> Actor:
    return OWNER


async def _may(actor: Actor, repository: str) -> bool:
    return True


async def _no_version(arrival: Arrival) -> None:
    # What is looked up for a model takes a moment, in which others may do things.
    await asyncio.sleep(0.005)


async def main(url: str, folder: Path) -> None:
    path = url.removeprefix("sqlite:///")
    database: Database = PostgresDatabase(url) if path == url else SqliteDatabase(Path(path), fsync="process")
    await database.open()
    routes = make_routes(
        blobs=DiskBlobs(folder / "blobs", fsync="process"),
        db=database,
        uploads=Uploads(folder / "uploads"),
        authenticate=_owner,
        may_read=_may,
        may_write=_may,
        on_manifest=_no_version,
        clock=lambda: time.time_ns() // 1000,
    )
    sock = socket.create_server(("127.0.0.1", 0))
    print(sock.getsockname()[1], flush=True)
    config = uvicorn.Config(Starlette(routes=routes), log_level="error", lifespan="off")
    await uvicorn.Server(config).serve([sock])
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
