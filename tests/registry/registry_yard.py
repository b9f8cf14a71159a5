"""A registry that runs: its routes under uvicorn on a free port, a real database and blobs on the disk beneath it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from modelyard import errors, host
from modelyard.accounts import Account, Actor
from modelyard.blobs.disk import DiskBlobs
from modelyard.cli.client import Login
from modelyard.db.sqlite import SqliteDatabase
from modelyard.housekeeping.audit import Audit
from modelyard.models.census import Census
from modelyard.registry.api import PUSH_SECONDS, make_routes
from modelyard.registry.images import Arrival
from modelyard.registry.repositories import Repositories
from modelyard.registry.uploads import Uploads
from modelyard.registry.upstreams import Upstreams
from modelyard.upkeep import Check
from modelyard.uses import Uses

TOKENS = {b"Bearer owner-token": "owner", b"Bearer other-token": "other"}


@dataclass
class Yard:
    """The registry as seen from outside, and what it told of arrivals."""

    folder: Path
    database: Path
    port: int = 0
    arrivals: list[Arrival] = field(default_factory=list)
    uses: Uses = field(default_factory=lambda: Uses(PUSH_SECONDS))
    refuse: errors.ModelyardError | None = None
    keep: errors.ModelyardError | None = None
    upstreams: Upstreams | None = None
    _server: uvicorn.Server | None = None
    _thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def login(self, token: str = "owner-token") -> Login:
        return Login(url=self.url, token=token)

    def start(self) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", self.port))
        self.port = sock.getsockname()[1]
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(sock, ready), daemon=True)
        self._thread.start()
        assert ready.wait(30)

    def stop(self) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(30)

    def restart(self) -> None:
        self.stop()
        self.start()

    def findings(self) -> list[str]:
        """What `yard doctor --store --deep` finds wrong with what it keeps."""
        return asyncio.run(self._findings())

    async def _findings(self) -> list[str]:
        database = SqliteDatabase(self.database, fsync="process")
        await database.open()
        audit = Audit(
            blobs=DiskBlobs(self.folder / "blobs", fsync="process"),
            census=Census(database),
            repositories=Repositories(database, _now),
            uses=self.uses,
            clock=_now,
        )
        found = await audit.run(Check(deep=True, fix=False))
        await database.close()
        return [f"{each.kind} {each.name}: {each.problem}" for each in found.findings]

    def _run(self, sock: socket.socket, ready: threading.Event) -> None:
        asyncio.run(self._serve(sock, ready))

    async def _serve(self, sock: socket.socket, ready: threading.Event) -> None:
        database = SqliteDatabase(self.database, fsync="process")
        await database.open()
        routes = make_routes(
            blobs=DiskBlobs(self.folder / "blobs", fsync="process"),
            db=database,
            uploads=Uploads(self.folder / "uploads"),
            authenticate=self._authenticate,
            may_read=self._may_read,
            may_write=self._may_write,
            on_manifest=self._on_manifest,
            on_delete=self._on_delete,
            clock=_now,
            uses=self.uses,
            upstreams=self.upstreams,
        )
        config = uvicorn.Config(
            Starlette(routes=routes), http=host.Protocol, log_config=None, log_level="error", lifespan="off"
        )
        self._server = uvicorn.Server(config)
        asyncio.get_running_loop().call_soon(ready.set)
        await self._server.serve([sock])
        await database.close()

    async def _authenticate(self, header: bytes) -> Actor:
        name = TOKENS.get(header)
        if name is None:
            raise errors.Unauthenticated("Who are you?", hint="Log in.")
        return Actor(account=Account(id=name, username=name, name=name, type="user"), token_id="t")

    async def _may_read(self, actor: Actor, repository: str) -> bool:
        return repository.startswith((f"{actor.account.username}/", "public/"))

    async def _may_write(self, actor: Actor, repository: str) -> bool:
        return repository.startswith(f"{actor.account.username}/")

    async def _on_manifest(self, arrival: Arrival) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.arrivals.append(arrival)

    async def _on_delete(self, repository: str, digest: str) -> None:
        if self.keep is not None:
            raise self.keep


def _now() -> int:
    return time.time_ns() // 1000
