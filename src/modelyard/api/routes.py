"""The table of the API: paths, methods, and who serves them.

All of it is under `/v1` and, for clients that add that twice, under `/v1/v1`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from modelyard import rest
from modelyard.api import (
    accounts,
    backup,
    delivery,
    files,
    history,
    holding,
    instances,
    models,
    openapi,
    pruning,
    secrets,
    stream,
    yard,
)
from modelyard.api.base import Deps
from modelyard.api.predictions import HotRoutes, as_route

PREFIXES = ("/v1", "/v1/v1")

Served = Callable[[Deps, Request], Awaitable[Response]]
Table = dict[str, dict[str, Served]]

_MODEL = "/models/{owner}/{name}"

_TABLE: Table = {
    "/account": {"GET": accounts.get},
    "/login-links": {"POST": accounts.login_link},
    "/hardware": {"GET": accounts.hardware},
    "/yard": {"GET": yard.get},
    "/yard/backup": {"POST": backup.create},
    "/instances": {"GET": instances.list_},
    "/instances/{instance_id}": {"GET": instances.get},
    "/instances/{instance_id}/logs": {"GET": instances.logs},
    "/webhooks/default/secret": {"GET": accounts.webhook_secret},
    "/models": {"GET": models.list_, "POST": models.create, "QUERY": models.search},
    _MODEL: {"GET": models.get, "PATCH": models.update, "DELETE": models.delete},
    _MODEL + "/readme": {"GET": models.readme},
    _MODEL + "/versions": {"GET": models.versions},
    _MODEL + "/versions/{version_id}": {"GET": models.get_version, "DELETE": models.delete_version},
    _MODEL + "/secrets": {"GET": secrets.list_},
    _MODEL + "/secrets/{secret}": {"PUT": secrets.set_, "DELETE": secrets.delete},
    "/predictions/{prediction_id}/cancel": {"POST": history.cancel},
    "/files": {"GET": files.list_, "POST": files.create},
    "/files/{file_id}": {"GET": files.get, "DELETE": files.delete},
    "/files/{file_id}/download": {"GET": files.download},
    "/streams/{token}": {"GET": stream.get},
    "/yard/prune": {"POST": pruning.prune},
    "/yard/check": {"POST": holding.check},
    "/yard/images": {"GET": holding.images},
}


def make_routes(deps: Deps, hot: HotRoutes) -> list[BaseRoute]:
    """The API, output links and the API's document; what `hot` serves is here too, for its other methods."""

    def bind(served: Served) -> rest.Handler:
        async def handler(request: Request) -> Response:
            return await served(deps, request)

        return handler

    listing, deleting = bind(history.list_), bind(history.delete)
    routes: list[BaseRoute] = []
    for prefix in PREFIXES:
        routes += [
            rest.resource(prefix + "/predictions", GET=listing, POST=as_route(hot.create)),
            rest.resource(prefix + "/predictions/{prediction_id}", GET=as_route(hot.get), DELETE=deleting),
            rest.resource(prefix + _MODEL + "/predictions", POST=as_route(hot.create_by_model)),
        ]
        for path, methods in _TABLE.items():
            routes.append(rest.resource(prefix + path, **{method: bind(served) for method, served in methods.items()}))
    routes.append(rest.resource("/outputs/{prediction_id}/{number}/{signature}/{name}", GET=bind(delivery.output)))
    routes.append(rest.resource("/openapi.json", GET=bind(openapi.get)))
    return routes
