"""The composition root: the only place that knows which adapter is which."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from importlib import metadata
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from modelyard import errors, host, ids, metrics, rest, settings, tls
from modelyard.accounts import Accounts
from modelyard.api.base import Deps, operator_of
from modelyard.api.predictions import HotRoutes
from modelyard.api.routes import make_routes as api_routes
from modelyard.auth import Authenticator
from modelyard.blobs.disk import DiskBlobs
from modelyard.db import migrations
from modelyard.db.base import Database, Statement
from modelyard.engines.process import ProcessEngine
from modelyard.exchange import Exchanges
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
from modelyard.publishing import Publishing
from modelyard.registry.api import PUSH_SECONDS
from modelyard.registry.api import make_routes as registry_routes
from modelyard.registry.uploads import Uploads
from modelyard.scheduler import hardware, placement
from modelyard.scheduler.autoscale import Bounds
from modelyard.scheduler.link import socket_path
from modelyard.scheduler.scheduler import Scheduler
from modelyard.sealing import Sealer
from modelyard.secrets import ModelSecrets
from modelyard.sessions import Sessions
from modelyard.settings import Settings
from modelyard.store.versions import Store
from modelyard.uses import Uses
from modelyard.web.base import Web
from modelyard.web.gate import Gate, Hosts
from modelyard.web.routes import make_routes as page_routes
from modelyard.workplaces import Workplaces

log = logging.getLogger(__name__)

Asgi = Callable[[rest.Scope, rest.Receive, rest.Send], Awaitable[None]]

# New predictions are refused while less than this share of the disk is free.
MIN_FREE_SHARE = 0.05
FREE_SHARE_REMEMBERED_SECONDS = 1.0
NODE = "main"
# Listening here, a yard serves this machine alone: its models may fetch from private addresses.
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

    app: Asgi
    scheduler: Scheduler
    outbox: Outbox
    runs: RunCounter
    new_token: str | None
    # Makes the address that signs one browser in as the owner, below this yard's own.
    login_path: Callable[[], Awaitable[str]]
    housekeeper: Housekeeper


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
        yard = await _put_together(found, port, database, certificate)
        loops = [asyncio.create_task(loop) for loop in (yard.outbox.run(), yard.housekeeper.run())]
        yield yard
        yard.runs.flush()
        yard.housekeeper.close()
        for each in loops:
            each.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
    finally:
        await database.close()


async def _open_database(found: Settings, report: Callable[[str], None]) -> Database:
    await migrations.migrate(found.database, found.data / "backups", report)
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

    def __init__(self, blobs: DiskBlobs) -> None:
        self._blobs = blobs
        self._until = 0.0
        self._answer = True

    def __call__(self) -> bool:
        now = time.monotonic()
        if now >= self._until:
            self._answer = self._blobs.free_fraction() >= MIN_FREE_SHARE
            self._until = now + FREE_SHARE_REMEMBERED_SECONDS
        return self._answer


def _people(database: Database) -> tuple[Accounts, Sessions]:
    accounts = Accounts(database, now_us)
    return accounts, Sessions(database, accounts, now_us)


def _bytes(found: Settings, database: Database, secret: bytes, asked: Uses) -> tuple[DiskBlobs, Files, Outputs, Inputs]:
    blobs = DiskBlobs(found.data / "blobs")
    blobs.discard_unfinished()
    files = Files(database, blobs, now_us, _Room(blobs))
    outputs = Outputs(blobs, secret)
    return blobs, files, outputs, Inputs(files, outputs, blobs, asked)


async def _put_together(found: Settings, port: int, database: Database, certificate: tls.Certificate | None) -> Yard:
    data = found.data
    accounts, sessions = _people(database)
    new_token = await _first_account(found, accounts, database)
    models = Models(database, now_us)
    sealer = Sealer(data, found.secret_key, os.urandom)
    secrets = ModelSecrets(database, sealer, now_us)
    outputs_secret = await _secret(database, "outputs_secret")
    # What is about to be used, so that housekeeping leaves it: inputs of predictions; images, and what is made of them.
    asked, relied_on = Uses(USED_SECONDS), Uses(PUSH_SECONDS)
    blobs, files, outputs, inputs = _bytes(found, database, outputs_secret, asked)
    has_room = _Room(blobs)
    predictions = Predictions(
        db=database, folder=data / "journals", clock=now_us, node=NODE, has_room=has_room, sealer=sealer
    )
    predictions.locate = inputs.of_record
    offered = hardware.catalogue(inventory := hardware.observe())
    scheduler = _scheduler(
        found,
        database,
        blobs=blobs,
        models=models,
        secrets=secrets,
        predictions=predictions,
        progress=Progress(predictions, outputs),
        inventory=inventory,
        offered=offered,
        uses=relied_on,
    )
    uploads = Uploads(data / "uploads", has_room)
    renderer = Renderer(outputs, rest.time_text)
    outbox = predictions.outbox = _outbox(found, port, database, accounts, models, renderer)
    deps = Deps(
        accounts=accounts,
        auth=(auth := Authenticator(accounts, sessions, now_us)),
        models=models,
        model_secrets=secrets,
        targets=Targets(models),
        runs=RunCounter(database, now_us),
        files=files,
        blobs=blobs,
        predictions=predictions,
        outputs=outputs,
        inputs=inputs,
        renderer=renderer,
        addresses=rest.Addresses(found.public_url),
        clock=now_us,
        hardware={sku: each.name for sku, each in offered.items()},
        remember_origin=outbox.remember_origin,
        removal=Removal(db=database, blobs=blobs, files=files, predictions=predictions, uses=asked),
        machine=scheduler.view,
        sessions=sessions,
        overview=_overview(database, data, has_room, scheduler),
    )
    registry = _registry(found, database, blobs=blobs, auth=auth, models=models, uploads=uploads, uses=relied_on)
    housekeeper = make_housekeeper(
        found, database, deps, uploads=uploads, asked=asked, relied_on=relied_on, free_share=blobs.free_fraction
    )
    deps = dataclasses.replace(deps, prune=housekeeper.prune)
    await scheduler.open()
    web = _web(deps, found, outputs_secret)
    exchanges = Exchanges()
    login_path = partial(_login_path, deps)
    doors = _doors(deps, web, [*registry, *_metrics(found, deps, database, exchanges, certificate)])
    return Yard(exchanges.around(doors), scheduler, outbox, deps.runs, new_token, login_path, housekeeper)


def _metrics(
    found: Settings, deps: Deps, database: Database, exchanges: Exchanges, certificate: tls.Certificate | None
) -> list[BaseRoute]:
    if found.metrics == "off":
        return []
    sources = metrics.Sources(
        overview=deps.overview,
        machine=deps.machine,
        models=deps.models,
        predictions=deps.predictions.tally,
        db=database,
        exchanges=exchanges,
        certificate_expires=lambda: None if certificate is None else certificate.expires_at,
    )

    async def everybody(_: Request) -> None:
        return None

    return metrics.make_routes(sources, everybody if found.metrics == "open" else partial(operator_of, deps))


def _outbox(
    found: Settings, port: int, database: Database, accounts: Accounts, models: Models, renderer: Renderer
) -> Outbox:
    return Outbox(
        db=database,
        accounts=accounts,
        models=models,
        renderer=renderer,
        clock=now_us,
        origin=found.public_url or address_of(found, port),
        private_addresses=found.host in _LOOPBACK,
    )


async def _login_path(deps: Deps) -> str:
    return f"/login/{await deps.sessions.create_link(await deps.accounts.operator_id())}"


def _web(deps: Deps, found: Settings, secret: bytes) -> Web:
    hosts = Hosts((found.host, socket.gethostname(), *found.allowed_hosts), found.public_url)
    # Browsers do not tell ports apart: another yard on this machine has a cookie of another name.
    gate = Gate(hosts, "yard_" + ids.token_hash(f"cookie {secret!r}")[:8])
    shared = [field.name for field in fields(Web) if field.name not in ("data", "gate")]
    return Web(
        **{name: getattr(deps, name) for name in shared},
        data=found.data,
        gate=gate,
    )


def _overview(database: Database, data: Path, has_room: Callable[[], bool], scheduler: Scheduler) -> Overview:
    return Overview(
        database,
        data,
        version=metadata.version("modelyard"),
        started_at=now_us(),
        monotonic=time.monotonic,
        has_room=has_room,
        stopping=lambda: scheduler.view.stopping,
    )


def _registry(
    found: Settings,
    database: Database,
    *,
    blobs: DiskBlobs,
    auth: Authenticator,
    models: Models,
    uploads: Uploads,
    uses: Uses,
) -> list[BaseRoute]:
    publishing = Publishing(models)
    return registry_routes(
        blobs=blobs,
        db=database,
        uploads=uploads,
        authenticate=auth.actor,
        may_read=publishing.may_read,
        may_write=publishing.may_write,
        on_manifest=publishing.on_manifest,
        clock=now_us,
        uses=uses,
        public_url=found.public_url,
    )


def _scheduler(
    found: Settings,
    database: Database,
    *,
    blobs: DiskBlobs,
    models: Models,
    secrets: ModelSecrets,
    predictions: Predictions,
    progress: Progress,
    inventory: placement.Inventory,
    offered: Mapping[str, placement.Hardware],
    uses: Uses,
) -> Scheduler:
    environ = settings.environment()
    instances = found.data / "instances"
    workplaces = Workplaces(
        models=models,
        secrets=secrets,
        store=Store(found.data / "store", blobs, environ, uses),
        blobs=blobs,
        catalogue=offered,
        caches=found.data / "caches",
        bounds=Bounds(idle_timeout_seconds=found.idle_timeout_seconds),
        setup_timeout_seconds=found.setup_timeout_seconds,
        reconnect_seconds=found.reconnect_seconds,
        private_urls=found.host in _LOOPBACK,
        uses=uses,
    )
    scheduler = Scheduler(
        db=database,
        predictions=predictions,
        progress=progress,
        make_engine=lambda on_exit: ProcessEngine(
            folder=instances, box=box.paths(), inherited=environ, on_exit=on_exit
        ),
        inventory=inventory,
        describe=workplaces.describe,
        adopt=workplaces.adopt,
        sweep=workplaces.sweep,
        vault=secrets,
        folder=instances,
        link_path=socket_path(found.data),
        clock=now_us,
        monotonic=time.monotonic,
    )
    secrets.on_change.append(scheduler.retire)
    return scheduler


def _doors(deps: Deps, web: Web, others: list[BaseRoute]) -> Asgi:
    """The whole yard as one ASGI application: the hot paths first, by hand, the rest by the router."""
    hot = HotRoutes(deps)

    async def healthz(request: Request) -> Response:
        return rest.json_response({"status": "ready"})

    routes = [rest.resource("/healthz", GET=healthz), *api_routes(deps, hot), *others, *page_routes(web)]
    cold = Starlette(routes=routes, exception_handlers=rest.exception_handlers())
    cold.router.redirect_slashes = False

    def app(scope: rest.Scope, receive: rest.Receive, send: rest.Send) -> Awaitable[None]:
        handler = None
        if scope["type"] == "http":
            try:
                web.gate.enter(scope)
            except errors.ModelyardError as error:
                return rest.reply_problem(scope, send, error)
            handler = hot.match(scope)
        return (cold if handler is None else handler)(scope, receive, send)

    return app
