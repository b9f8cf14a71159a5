"""The doors on a yard's own HTTP server with a real database; a script here plays the workers, frame by frame.

What a prediction does is said by its input: `text` is answered with a greeting; `do` is a list of steps, each a word
and its argument: `log`, `items`, `metric`, `file`, `done`, `fail`, `hang`, `die`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import httpx
import msgspec
import uvicorn
import uvloop
from starlette.applications import Starlette

from modelyard import host, rest
from modelyard.accounts import Account, Accounts
from modelyard.api.base import Deps
from modelyard.api.predictions import HotRoutes
from modelyard.api.routes import make_routes
from modelyard.auth import Authenticator
from modelyard.backup import making
from modelyard.blobs.disk import DiskBlobs
from modelyard.db.base import Database
from modelyard.db.sqlite import SqliteDatabase
from modelyard.files import Files
from modelyard.machine import Outlook, PastInstance, Seen, SeenInstance
from modelyard.models.service import Models
from modelyard.models.targets import RunCounter, Targets
from modelyard.overview import Overview
from modelyard.predictions.document import Renderer
from modelyard.predictions.inputs import USED_SECONDS, Inputs
from modelyard.predictions.live import Live
from modelyard.predictions.outputs import Outputs
from modelyard.predictions.progress import Progress
from modelyard.predictions.record import Status
from modelyard.predictions.removal import Removal
from modelyard.predictions.service import Predictions
from modelyard.predictions.webhooks import Outbox
from modelyard.scheduler.logbook import Logbook
from modelyard.scheduler.view import Log
from modelyard.sealing import Sealer
from modelyard.secrets import ModelSecrets
from modelyard.sessions import Sessions
from modelyard.upkeep import Check, Checked, Finding, Holding, Holdings, InEngine, Item, Report, Wish
from modelyard.uses import Uses
from modelyard_runner import frames

T = TypeVar("T")

INPUT: dict[str, Any] = {
    "type": "object",
    "title": "Input",
    "properties": {
        "text": {"type": "string", "title": "Text", "default": "nobody", "x-order": 0},
        "count": {"type": "integer", "minimum": 1, "maximum": 10, "default": 1, "x-order": 1},
        "sizes": {"type": "array", "items": {"type": "integer"}, "default": []},
        "ratio": {"type": "number", "default": 0.5},
        "style": {"allOf": [{"$ref": "#/components/schemas/style"}], "default": "plain"},
        "image": {"type": "string", "format": "uri", "nullable": True},
        "images": {"type": "array", "items": {"type": "string", "format": "uri"}, "default": []},
        "note": {"type": "string", "nullable": True},
        "key": {"type": "string", "format": "password", "writeOnly": True, "x-cog-secret": True},
        "do": {"type": "array", "items": {}, "default": []},
    },
}


def schema(output: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    """The document of a model with this output; `inputs` replaces parts of its Input."""
    return {
        "openapi": "3.0.2",
        "info": {"title": "Cog", "version": "0.1.0"},
        "paths": {},
        "components": {
            "schemas": {
                "Input": {**INPUT, **inputs},
                "Output": {"title": "Output", **output},
                "style": {"title": "style", "enum": ["plain", "loud"], "type": "string", "description": "Which"},
            }
        },
    }


TEXT = schema({"type": "string"})
TOKENS = schema({"type": "array", "items": {"type": "string"}, "x-cog-array-type": "iterator"})
FILES = schema({"type": "array", "items": {"type": "string", "format": "uri"}})
STRICT = schema({"type": "string"}, required=["text"])
VERSIONS = {"text": "a" * 64, "tokens": "b" * 64, "files": "c" * 64, "strict": "d" * 64}


INSTANCE = "1" * 26


class Script:
    """Plays the scheduler and its workers."""

    def __init__(self, predictions: Predictions, progress: Progress, scratch: Path) -> None:
        self._predictions = predictions
        self._progress = progress
        self._scratch = scratch
        self.running: dict[str, asyncio.Task[None]] = {}
        self.seen: dict[str, dict[str, Any]] = {}
        self.paused = False
        self.logbook = Logbook(scratch / "instances", lambda: time.time_ns() // 1000)
        self.fleet: Any = SimpleNamespace(instances={INSTANCE: None})
        self.gone: list[PastInstance] = []
        self.stopping = False
        self.model_id = ""

    def offer(self, live: Live) -> None:
        if not self.paused:
            task = asyncio.get_running_loop().create_task(self._play(live))
            self.running[live.id] = task
            task.add_done_callback(lambda _: self.running.pop(live.id, None))

    def withdraw(self, live: Live) -> bool:
        return live.id not in self.running

    def stop(self, live: Live) -> None:
        task = self.running.pop(live.id, None)
        if task is not None:
            task.cancel()
            self._progress.apply(live, frames.Canceled(id=live.id, seconds=0.1))

    def observe(self) -> Seen:
        instance = SeenInstance(
            id=INSTANCE,
            model_id=self.model_id,
            version_id=VERSIONS["text"],
            state="busy" if self.running else "idle",
            since_seconds=1.0,
            concurrency=1,
            memory_bytes=0,
            cpus=1.0,
            gpus=(),
            running=tuple(self.running),
            said="",
        )
        return Seen(instances=(instance,) if self.model_id else (), pools=(), cores=1, memory_bytes=0, gpus=())

    def outlook(self, model_id: str, version_id: str, prediction_id: str) -> Outlook:
        return Outlook(before=0, starting=None, problem=None)

    async def past(self, instance_id: str) -> PastInstance | None:
        return next((each for each in self.gone if each.id == instance_id), None)

    async def ended(self, *, owner: str | None, limit: int) -> list[PastInstance]:
        return self.gone[:limit]

    def log(self, instance_id: str) -> Log:
        return Log(self.fleet, self.logbook, instance_id)

    async def _play(self, live: Live) -> None:
        assert self._predictions.hidden.reveal(live) is None
        values = {**msgspec.json.decode(live.record.input), **live.secrets}
        self.seen[live.id] = {"input": values, "files": dict(live.input_files)}
        self._predictions.claim(live, "instance")
        self._progress.apply(live, frames.Started(id=live.id))
        for step in values.get("do") or [["done", f"hello {values.get('text', 'nobody')}"]]:
            word, *arguments = step
            await self._step(live, word, *arguments)

    async def _step(self, live: Live, word: str, *arguments: Any) -> None:
        raw = msgspec.Raw(msgspec.json.encode(arguments[0] if arguments else None))
        if word == "log":
            self._progress.apply(live, frames.Log(id=live.id, text=arguments[0]))
        elif word == "items":
            self._progress.apply(live, frames.Output(id=live.id, values=raw))
        elif word == "metric":
            value = msgspec.Raw(msgspec.json.encode(arguments[1]))
            self._progress.apply(live, frames.Metric(id=live.id, name=arguments[0], value=value))
        elif word == "done":
            iterator = not arguments
            self._progress.apply(live, frames.Done(id=live.id, seconds=0.25, iterator=iterator, output=raw))
        elif word == "file":
            self._file(live, *arguments)
        elif word == "fail":
            self._progress.apply(live, frames.Failed(id=live.id, error=arguments[0], seconds=0.1))
        elif word == "sleep":
            await asyncio.sleep(arguments[0])
        elif word == "hang":
            await asyncio.Event().wait()
        elif word == "die":
            self._predictions.requeue(live, count=False)

    def _file(self, live: Live, name: str, content: str, count: int = 1) -> None:
        path = self._scratch / f"{live.id}-{name}"
        path.write_text(content)
        files = [frames.File(ref=f"@{number}", path=str(path), name=f"{number or ''}{name}") for number in range(count)]
        output = msgspec.Raw(msgspec.json.encode([file.ref for file in files]))
        self._progress.apply(live, frames.Done(id=live.id, seconds=0.25, output=output, files=files))


class Server:
    """Everything behind the doors; `url` says where they are."""

    def __init__(self, folder: Path, public_url: str | None = None) -> None:
        self.folder = folder
        self._public_url = public_url
        self.loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self.clock_offset = 0
        self.wishes: list[Wish] = []
        self.url = ""
        self.token = "r8_" + "a" * 37
        self.other_token = "r8_" + "b" * 37

    async def prune(self, wish: Wish) -> Report:
        self.wishes.append(wish)
        report = Report(dry_run=wish.dry_run)
        report.add(Item(kind="outputs", name="an output", bytes=5, why="it is old"))
        report.fail("environments", "an environment", "it is stuck")
        return report

    async def check_store(self, check: Check) -> Checked:
        finding = Finding(kind="tag", name="ada/hello:x", problem="it points nowhere", remedy="forget it", fixable=True)
        return Checked(deep=check.deep, counts={"tags": 1}, findings=[dataclasses.replace(finding, fixed=check.fix)])

    async def holdings(self) -> Holdings:
        held = Holding(
            name="ada/hello",
            id="1" * 64,
            is_version=True,
            tags=("latest",),
            created_at=1_700_000_000_000_000,
            bytes=9,
            unique=4,
        )
        copy = InEngine(name="ada/gone", id="2" * 64, bytes=7, unique=3, needed=False)
        return Holdings(held=(held,), bytes=12, unneeded=3, in_engine=(copy,))

    def clock(self) -> int:
        return time.time_ns() // 1000 + self.clock_offset

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the server's loop."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self.loop)
        return future.result(30)

    def client(self, token: str | None = None, **options: Any) -> httpx.Client:
        """A client with the owner's token, or another."""
        headers = {"authorization": f"Bearer {token or self.token}", **options.pop("headers", {})}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20, **options)

    async def open(self) -> None:
        database: Database = SqliteDatabase(self.folder / "yard.db", fsync="process")
        self.database = database
        await database.open()
        self.blobs = DiskBlobs(self.folder / "blobs")
        self.accounts = Accounts(database, self.clock)
        sessions = Sessions(database, self.accounts, self.clock)
        self.models = Models(database, self.clock)
        sealer = Sealer(self.folder, None, os.urandom)
        files = Files(database, self.blobs, self.clock)
        outputs = Outputs(self.blobs, b"secret of a test")
        inputs = Inputs(files, outputs, self.blobs)
        renderer = Renderer(outputs, rest.time_text)
        self.predictions = Predictions(
            db=database, folder=self.folder / "journals", clock=self.clock, node="test", sealer=sealer
        )
        self.predictions.locate = inputs.of_record
        self.script = Script(self.predictions, Progress(self.predictions, outputs), self.folder)
        self.predictions.queue = self.script
        self.outbox = Outbox(
            db=database,
            accounts=self.accounts,
            models=self.models,
            renderer=renderer,
            clock=self.clock,
            origin="http://yard.test",
            private_addresses=True,
        )
        self.predictions.outbox = self.outbox
        source = making.Source(
            database_url=f"sqlite:///{self.folder / 'yard.db'}",
            data=self.folder,
            version="0.0.0",
            clock=self.clock,
            blobs=self.blobs,
        )
        self.deps = Deps(
            accounts=self.accounts,
            auth=Authenticator(self.accounts, sessions, self.clock),
            sessions=sessions,
            models=self.models,
            model_secrets=ModelSecrets(database, sealer, self.clock),
            targets=Targets(self.models),
            runs=RunCounter(database, self.clock),
            files=files,
            blobs=self.blobs,
            predictions=self.predictions,
            outputs=outputs,
            inputs=inputs,
            renderer=renderer,
            prune=self.prune,
            check_store=self.check_store,
            holdings=self.holdings,
            removal=Removal(
                db=database, blobs=self.blobs, files=files, predictions=self.predictions, uses=Uses(USED_SECONDS)
            ),
            addresses=rest.Addresses(self._public_url),
            clock=self.clock,
            remember_origin=self.outbox.remember_origin,
            machine=self.script,
            backup=partial(making.make, source),
            overview=Overview(
                database, self.folder, version="0.0.0", started_at=self.clock(), monotonic=time.monotonic
            ),
        )
        await self._fill()

    async def _fill(self) -> None:
        self.owner: Account = await self.accounts.create("acme", "Acme")
        await self.accounts.create_token(self.owner.id, "test", self.token)
        other = await self.accounts.create("other", "Other")
        await self.accounts.create_token(other.id, "test", self.other_token)
        for name, document in (("text", TEXT), ("tokens", TOKENS), ("files", FILES), ("strict", STRICT)):
            model = await self.models.create("acme", name, visibility="private")
            self.script.model_id = self.script.model_id or model.id
            await self.models.add_version(model.id, VERSIONS[name], document, {}, "0.16.0")
        await self.models.create("acme", "empty", visibility="public")

    def app(self) -> Any:
        hot = HotRoutes(self.deps)
        cold = Starlette(routes=make_routes(self.deps, hot), exception_handlers=rest.exception_handlers())
        cold.router.redirect_slashes = False

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await (hot.match(scope) or cold)(scope, receive, send)

        return app

    async def serve(self, ready: threading.Event) -> None:
        await self.open()
        outbox = asyncio.create_task(self.outbox.run())
        config = uvicorn.Config(
            self.app(),
            port=0,
            http=host.Protocol,
            interface="asgi3",
            proxy_headers=False,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
        )
        self.server = host.Server(config)
        serving = asyncio.create_task(self.server.serve())
        while not self.server.started:
            await asyncio.sleep(0.005)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        ready.set()
        await serving
        outbox.cancel()
        await asyncio.gather(outbox, return_exceptions=True)
        await self.database.close()


@contextmanager
def running(folder: Path, **options: Any) -> Iterator[Server]:
    """A server in a thread of its own."""
    server = Server(folder, **options)
    ready = threading.Event()
    thread = threading.Thread(target=lambda: server.loop.run_until_complete(server.serve(ready)), daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield server
    finally:
        server.server.should_exit = True
        server.server.force_exit = True
        thread.join(20)


def until(condition: Any, seconds: float = 10.0) -> Any:
    """What `condition()` gives once that is true."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > deadline:
            assert value, "this did not become true"
            return value
        time.sleep(0.01)


TERMINAL = {status.value for status in Status} - {"starting", "processing"}
