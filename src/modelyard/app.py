"""The composition root: the only place that knows which adapter is which."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from modelyard import doors, errors, host, ids, rest, settings, storage, tls
from modelyard.accounts import Accounts
from modelyard.api.base import Deps
from modelyard.auth import Authenticator
from modelyard.backup import making, upgrading
from modelyard.blobs.base import MIN_FREE_SHARE, Blobs
from modelyard.containers import Containers
from modelyard.db import migrations
from modelyard.db.base import Database, Statement
from modelyard.engines.base import Engine, EngineError, OnExit
from modelyard.engines.process import ProcessEngine
from modelyard.files import Files
from modelyard.housekeeping.keeper import Housekeeper, make_housekeeper
from modelyard.models.service import Models
from modelyard.models.targets import RunCounter, Targets
from modelyard.overview import Overview
from modelyard.packaging import box
from modelyard.predictions.document import Renderer
from modelyard.predictions.inputs import USED_SECONDS, Inputs
from modelyard.predictions.outputs import Outputs
from modelyard.predictions.progress import Progress
from modelyard.predictions.removal import Removal
from modelyard.predictions.service import Predictions
from modelyard.predictions.webhooks import Outbox
from modelyard.pulling import PullTokens
from modelyard.registry.api import PUSH_SECONDS
from modelyard.registry.leaving import Leaving
from modelyard.registry.uploads import Uploads
from modelyard.scheduler import hardware, placement
from modelyard.scheduler.autoscale import Bounds
from modelyard.scheduler.link import socket_in_folder, socket_path
from modelyard.scheduler.scheduler import Scheduler
from modelyard.sealing import Sealer
from modelyard.secrets import ModelSecrets
from modelyard.sessions import Sessions
from modelyard.settings import Settings
from modelyard.store.versions import Store
from modelyard.uses import Uses
from modelyard.workplaces import Workplaces

log = logging.getLogger(__name__)

FREE_SHARE_REMEMBERED_SECONDS = 1.0
NODE = "main"
VERSION = metadata.version("modelyard")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")

_GET_META = Statement("get_meta", "SELECT value FROM meta WHERE key = :key")
_ADD_META = Statement("add_meta", "INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO NOTHING")
_ANY_ACCOUNT = Statement("any_account", "SELECT id FROM accounts ORDER BY created_at LIMIT 1")


def now_us() -> int:
    """The clock of the whole yard: microseconds since 1970."""
    return time.time_ns() // 1000


@dataclass(slots=True)
class Yard:
    """A yard that is open: what answers HTTP, and what must be closed in order."""

    app: rest.Asgi
    scheduler: Scheduler
    outbox: Outbox
    runs: RunCounter
    new_token: str | None
    # Makes the address that signs one browser in as the owner, below this yard's own.
    login_path: Callable[[], Awaitable[str]]
    housekeeper: Housekeeper


def _private_allowed(found: Settings) -> bool:
    """May models and webhooks use private addresses? Behind a proxy a yard listens here, too, and serves others."""
    if found.private_addresses != "auto":
        return found.private_addresses == "allow"
    name = None if found.public_url is None else urlsplit(found.public_url).hostname
    return found.host in _LOOPBACK and (name is None or name in _LOOPBACK)


def address_of(found: Settings, port: int) -> str:
    """What this yard is called by those who have no other name for it."""
    shown = "127.0.0.1" if found.host in ("0.0.0.0", "::", "") else found.host  # noqa: S104 - only compared
    scheme = "http" if found.tls_cert is None else "https"
    return f"{scheme}://[{shown}]:{port}" if ":" in shown else f"{scheme}://{shown}:{port}"


@contextlib.asynccontextmanager
async def open_yard(
    found: Settings, port: int, report: Callable[[str], None], certificate: tls.Certificate | None = None
) -> AsyncIterator[Yard]:
    """A yard without a server around it. Raises Forbidden where this user may not write."""
    host.open_folders(found.data, migrations.sqlite_path(found.database))
    database = await _open_database(found, report)
    try:
        yard = await _put_together(found, port, database, await _nouns(found, database, report), certificate)
        loops = [asyncio.create_task(loop) for loop in (yard.outbox.run(), yard.housekeeper.run())]
        yield yard
        yard.runs.flush()
        yard.housekeeper.close()
        for each in loops:
            each.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
    finally:
        await database.close()


def _source(found: Settings, blobs: Blobs | None = None) -> making.Source:
    return making.Source(database_url=found.database, data=found.data, version=VERSION, clock=now_us, blobs=blobs)


async def _open_database(found: Settings, report: Callable[[str], None]) -> Database:
    await upgrading.bring_up_to_date(_source(found), report, found.keep_backups)
    database: Database
    if found.database.startswith("sqlite:///"):
        from modelyard.db.sqlite import SqliteDatabase

        database = SqliteDatabase(
            Path(found.database.removeprefix("sqlite:///")), "process" if found.fsync == "process" else "power"
        )
    else:
        # Only where it is wanted: the driver is an extra.
        from modelyard.db.postgres import PostgresDatabase

        database = PostgresDatabase(found.database)
    await database.open()
    await database.run(upgrading.SET_VERSION, {"version": VERSION})
    return database


async def _secret(database: Database, name: str) -> bytes:
    await database.run(_ADD_META, {"key": name, "value": ids.new_token()})
    row = await database.one(_GET_META, key=name)
    assert row is not None  # noqa: S101 - it was just written
    return str(row["value"]).encode()


async def _first_account(found: Settings, accounts: Accounts, database: Database) -> str | None:
    """Make the owner on the first start; gives the token that was made, if it was not given."""
    if await database.one(_ANY_ACCOUNT) is None:
        owner = await accounts.create(found.owner, found.owner)
        token = await accounts.create_token(owner.id, "owner", found.admin_token)
        return None if found.admin_token else token
    if found.admin_token is not None and await accounts.actor_of(found.admin_token) is None:
        account = await accounts.by_username(found.owner)
        if account is not None:
            await accounts.create_token(account.id, "owner", found.admin_token)
    return None


class _Room:
    """Is there room on the disk? Asked at every prediction, looked up once a second."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._until = 0.0
        self._answer = True

    def __call__(self) -> bool:
        now = time.monotonic()
        if now >= self._until:
            self._answer = self._blobs.free_fraction() >= MIN_FREE_SHARE
            self._until = now + FREE_SHARE_REMEMBERED_SECONDS
        return self._answer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Nouns:
    """What a yard knows of. `asked`, `relied_on`: the inputs and the images that are about to be used, which
    housekeeping leaves."""

    secret: bytes
    accounts: Accounts
    sessions: Sessions
    models: Models
    secrets: ModelSecrets
    blobs: Blobs
    has_room: _Room
    files: Files
    outputs: Outputs
    inputs: Inputs
    predictions: Predictions
    renderer: Renderer
    asked: Uses
    relied_on: Uses
    pulls: PullTokens


async def _nouns(found: Settings, database: Database, report: Callable[[str], None]) -> _Nouns:
    secret = await _secret(database, "outputs_secret")
    owner = ids.token_hash(f"blobs {secret!r}")[:32]
    blobs = await storage.open_for(owner, found, settings.environment(), report)
    has_room = _Room(blobs)
    accounts = Accounts(database, now_us)
    sealer = Sealer(found.data, found.secret_key, os.urandom)
    files = Files(database, blobs, now_us, has_room)
    outputs = Outputs(blobs, secret)
    asked = Uses(USED_SECONDS)
    inputs = Inputs(files, outputs, blobs, asked)
    journals = found.data / "journals"
    predictions = Predictions(db=database, folder=journals, clock=now_us, node=NODE, has_room=has_room, sealer=sealer)
    predictions.locate = inputs.of_record
    predictions.bring = inputs.bring if found.blobs != "disk" else None
    return _Nouns(
        secret=secret,
        accounts=accounts,
        sessions=Sessions(database, accounts, now_us),
        models=Models(database, now_us, Leaving(database, now_us, blobs)),
        secrets=ModelSecrets(database, sealer, now_us),
        blobs=blobs,
        has_room=has_room,
        files=files,
        outputs=outputs,
        inputs=inputs,
        predictions=predictions,
        renderer=Renderer(outputs, rest.time_text),
        asked=asked,
        relied_on=Uses(PUSH_SECONDS),
        pulls=PullTokens(secret, now_us),
    )


async def _put_together(
    found: Settings, port: int, database: Database, nouns: _Nouns, certificate: tls.Certificate | None
) -> Yard:
    new_token = await _first_account(found, nouns.accounts, database)
    offered = hardware.catalogue(inventory := hardware.observe())
    machinery = _machinery(found, nouns, port, settings.environment(), found.data / "instances")
    scheduler = _scheduler(found, database, nouns, inventory, offered, machinery)
    outbox = nouns.predictions.outbox = _outbox(found, port, database, nouns)
    uploads = Uploads(found.data / "uploads", nouns.has_room)
    removal = Removal(
        db=database, blobs=nouns.blobs, files=nouns.files, predictions=nouns.predictions, uses=nouns.asked
    )
    deps = Deps(
        accounts=nouns.accounts,
        auth=Authenticator(nouns.accounts, nouns.sessions, now_us),
        models=nouns.models,
        model_secrets=nouns.secrets,
        targets=Targets(nouns.models),
        runs=RunCounter(database, now_us),
        files=nouns.files,
        blobs=nouns.blobs,
        predictions=nouns.predictions,
        outputs=nouns.outputs,
        inputs=nouns.inputs,
        renderer=nouns.renderer,
        addresses=rest.Addresses(found.public_url),
        clock=now_us,
        hardware={sku: each.name for sku, each in offered.items()},
        remember_origin=outbox.remember_origin,
        removal=removal,
        machine=scheduler.view,
        sessions=nouns.sessions,
        overview=_overview(database, found.data, nouns.has_room, scheduler),
        backup=partial(making.make, _source(found, nouns.blobs)),
        base_image=found.base_image,
        engine=found.engine,
    )
    housekeeper = _housekeeper(found, database, deps, uploads, nouns, machinery)
    deps = dataclasses.replace(
        deps, prune=housekeeper.prune, check_store=housekeeper.check, holdings=housekeeper.holdings
    )
    try:
        await scheduler.open()
    except EngineError as error:
        raise errors.Unavailable(f"The yard cannot start: {error}") from error
    asgi = doors.put_together(
        found,
        database,
        deps,
        uploads=uploads,
        uses=nouns.relied_on,
        secret=nouns.secret,
        certificate=certificate,
        pulls=nouns.pulls,
        upstreams=doors.upstreams(found, anywhere=_private_allowed(found)),
    )
    login_path = partial(doors.login_path, deps)
    return Yard(asgi, scheduler, outbox, deps.runs, new_token, login_path, housekeeper)


def _housekeeper(
    found: Settings, database: Database, deps: Deps, uploads: Uploads, nouns: _Nouns, machinery: _Machinery
) -> Housekeeper:
    return make_housekeeper(
        found,
        database,
        deps,
        uploads=uploads,
        asked=nouns.asked,
        relied_on=nouns.relied_on,
        free_share=nouns.blobs.free_fraction,
        images=None if machinery.containers is None else machinery.containers.images,
    )


def _outbox(found: Settings, port: int, database: Database, nouns: _Nouns) -> Outbox:
    return Outbox(
        db=database,
        accounts=nouns.accounts,
        models=nouns.models,
        renderer=nouns.renderer,
        clock=now_us,
        origin=found.public_url or address_of(found, port),
        private_addresses=_private_allowed(found),
    )


def _overview(database: Database, data: Path, has_room: Callable[[], bool], scheduler: Scheduler) -> Overview:
    return Overview(
        database,
        data,
        version=VERSION,
        started_at=now_us(),
        monotonic=time.monotonic,
        has_room=has_room,
        stopping=lambda: scheduler.view.stopping,
    )


class _Machinery(NamedTuple):
    """How instances are run. `containers` brings images where that takes containers; `within`: where the folders of
    instances are whose word about files does not count."""

    make_engine: Callable[[OnExit], Engine]
    link_path: Path
    link_address: str | None = None
    containers: Containers | None = None
    within: Path | None = None


def _machinery(found: Settings, nouns: _Nouns, port: int, environ: Mapping[str, str], instances: Path) -> _Machinery:
    if found.engine == "docker":
        return _containers(found, nouns, port, environ, instances)
    return _Machinery(
        lambda on_exit: ProcessEngine(folder=instances, box=box.paths(), inherited=environ, on_exit=on_exit),
        socket_path(found.data),
    )


def _containers(found: Settings, nouns: _Nouns, port: int, environ: Mapping[str, str], instances: Path) -> _Machinery:
    try:
        # Only where it is wanted: the client is an extra.
        from modelyard.engines.docker import connection as docker
        from modelyard.engines.docker import container, engine, images
    except ModuleNotFoundError as error:
        if error.name != "aiodocker":
            raise
        raise errors.UsageError(
            "engine is docker, which needs aiodocker, and that is not installed.",
            hint="pip install 'modelyard[docker]'",
        ) from None
    connection = docker.Connection(docker.address(environ))
    path = socket_in_folder(found.data)
    dials = None if found.docker_link == "socket" else found.docker_link
    site = container.Site(
        # Two yards may share an engine: each knows its own containers by this.
        yard=ids.token_hash(f"engine {nouns.secret!r}")[:12],
        user=engine.own_user(),
        socket=path.parent if dials is None else None,
        outgoing=found.docker_outgoing == "allow",
        writable=found.docker_root == "writable",
        published=sys.platform == "darwin",
    )
    bringing = images.Images(connection, found.docker_registry or f"127.0.0.1:{port}", nouns.pulls.make)
    return _Machinery(
        lambda on_exit: engine.DockerEngine(
            connection=connection, folder=instances, site=site, box=box.paths(), on_exit=on_exit
        ),
        path,
        dials,
        Containers(bringing, nouns.blobs, nouns.relied_on),
        instances,
    )


def _scheduler(
    found: Settings,
    database: Database,
    nouns: _Nouns,
    inventory: placement.Inventory,
    offered: Mapping[str, placement.Hardware],
    machinery: _Machinery,
) -> Scheduler:
    workplaces = Workplaces(
        models=nouns.models,
        secrets=nouns.secrets,
        store=Store(found.data / "store", nouns.blobs, settings.environment(), nouns.relied_on, nouns.has_room),
        blobs=nouns.blobs,
        catalogue=offered,
        caches=found.data / "caches",
        bounds=Bounds(idle_timeout_seconds=found.idle_timeout_seconds),
        setup_timeout_seconds=found.setup_timeout_seconds,
        reconnect_seconds=found.reconnect_seconds,
        private_urls=_private_allowed(found),
        uses=nouns.relied_on,
        containers=machinery.containers,
    )
    scheduler = Scheduler(
        db=database,
        predictions=nouns.predictions,
        progress=Progress(nouns.predictions, nouns.outputs, machinery.within),
        make_engine=machinery.make_engine,
        inventory=inventory,
        describe=workplaces.describe,
        adopt=workplaces.adopt,
        sweep=workplaces.sweep,
        vault=nouns.secrets,
        folder=found.data / "instances",
        link_path=machinery.link_path,
        link_address=machinery.link_address,
        clock=now_us,
        monotonic=time.monotonic,
    )
    nouns.secrets.on_change.append(scheduler.retire)
    nouns.models.on_deleted.append(scheduler.forget_trouble)
    return scheduler
