"""Every door of a yard as one application: the API, the registry, the pages, and what meters read."""

from __future__ import annotations

import socket
from collections.abc import Awaitable
from dataclasses import fields
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from modelyard import errors, ids, metrics, rest, settings, tls
from modelyard.api.base import Deps, operator_of
from modelyard.api.predictions import HotRoutes
from modelyard.api.routes import make_routes as api_routes
from modelyard.db.base import Database
from modelyard.exchange import Exchanges
from modelyard.oci.client import credentials
from modelyard.packaging import base
from modelyard.predictions.webhooks import is_public
from modelyard.publishing import Publishing
from modelyard.pulling import PullTokens
from modelyard.registry.api import make_routes as registry_routes
from modelyard.registry.uploads import Uploads
from modelyard.registry.upstreams import Upstreams
from modelyard.settings import Settings
from modelyard.uses import Uses
from modelyard.web.base import Web
from modelyard.web.gate import Gate, Hosts
from modelyard.web.routes import make_routes as page_routes


def put_together(
    found: Settings,
    database: Database,
    deps: Deps,
    *,
    uploads: Uploads,
    uses: Uses,
    secret: bytes,
    certificate: tls.Certificate | None,
    pulls: PullTokens,
    upstreams: Upstreams,
) -> rest.Asgi:
    """The application. `uses`: images that are about to be used; `secret`: the yard's own, which names its cookie;
    `pulls`: what an engine of this yard pulls with; `upstreams`: the registries of bases."""
    exchanges = Exchanges()
    others = _registry(found, database, deps, uploads=uploads, uses=uses, pulls=pulls, upstreams=upstreams)
    others += _metrics(found, deps, database, exchanges, certificate)
    return exchanges.around(_application(deps, _web(found, deps, secret), others))


def _application(deps: Deps, web: Web, others: list[BaseRoute]) -> rest.Asgi:
    # The hot paths first, by hand, the rest by the router.
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


def _web(found: Settings, deps: Deps, secret: bytes) -> Web:
    hosts = Hosts((found.host, socket.gethostname(), *found.allowed_hosts), found.public_url)
    # Browsers do not tell ports apart: another yard on this machine has a cookie of another name.
    gate = Gate(hosts, "yard_" + ids.token_hash(f"cookie {secret!r}")[:8])
    shared = [field.name for field in fields(Web) if field.name != "gate"]
    return Web(**{name: getattr(deps, name) for name in shared}, gate=gate)


def _registry(
    found: Settings,
    database: Database,
    deps: Deps,
    *,
    uploads: Uploads,
    uses: Uses,
    pulls: PullTokens,
    upstreams: Upstreams,
) -> list[BaseRoute]:
    publishing = Publishing(deps.models)
    return registry_routes(
        blobs=deps.blobs,
        db=database,
        uploads=uploads,
        authenticate=pulls.known_to(deps.auth.actor),
        may_read=pulls.reading(publishing.may_read),
        may_write=pulls.writing(publishing.may_write),
        on_manifest=publishing.on_manifest,
        on_delete=publishing.on_delete,
        on_pull=publishing.on_pull,
        clock=deps.clock,
        uses=uses,
        public_url=found.public_url,
        upstreams=upstreams,
    )


def upstreams(found: Settings, *, anywhere: bool) -> Upstreams:
    """The registries of bases: the yard says who it is for the base of its settings alone. `anywhere`: may others be
    asked that are in a private network?"""
    own = None if found.base_image is None else found.base_image.replace(base.PYTHON, "3")
    return Upstreams(own, credentials.docker(settings.environment()), None if anywhere else is_public)


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


async def login_path(deps: Deps) -> str:
    """Where a browser is signed in as the yard's operator, once."""
    return f"/login/{await deps.sessions.create_link(await deps.accounts.operator_id())}"
