"""The table of the pages."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelyard import errors, rest
from modelyard.web import assets, home, machine, model, news, pages, prediction, predictions, signing
from modelyard.web.base import View, Web
from modelyard.web.gate import SAFE

# What programs ask for is answered to programs, also where nothing is: paths that begin with one of these.
_FOR_PROGRAMS = frozenset(("v1", "v2", "outputs", "healthz", "metrics", "openapi.json"))

_TABLE: dict[str, dict[str, View]] = {
    "/": {"GET": home.get},
    "/search": {"GET": home.search},
    "/login": {"GET": signing.about},
    "/login/{link}": {"GET": signing.ask, "POST": signing.sign_in},
    "/logout": {"POST": signing.sign_out},
    "/predictions": {"GET": predictions.get},
    "/p/{prediction_id}": {"GET": prediction.get},
    "/p/{prediction_id}/result": {"GET": prediction.result},
    "/p/{prediction_id}/logs": {"GET": prediction.logs},
    "/p/{prediction_id}/output": {"GET": prediction.output},
    "/yard": {"GET": machine.get},
    "/news": {"GET": news.get},
    "/{owner}/{name}": {"GET": model.run},
    "/{owner}/{name}/code": {"POST": model.code},
    "/{owner}/{name}/{tab}": {"GET": model.tab},
}


def make_routes(web: Web) -> list[BaseRoute]:
    """The pages, what they are made of, and a page for each address where nothing is."""
    routes = [rest.resource("/static/{digest}/{name:path}", GET=assets.get)]
    routes += [_route(web, path, methods) for path, methods in _TABLE.items()]
    return [*routes, _route(web, "/{path:path}", {"GET": _nothing})]


def _route(web: Web, path: str, methods: dict[str, View]) -> BaseRoute:
    views = {**methods, "HEAD": methods["GET"]} if "GET" in methods else methods

    async def serve(request: Request) -> Response:
        if request.scope["path"].split("/", 2)[1] in _FOR_PROGRAMS:
            # No door of the API took it: an account of that name has no pages.
            raise HTTPException(404)
        view = views.get(request.method)
        if view is None:
            raise HTTPException(405, headers={"Allow": ", ".join(sorted(views))})
        try:
            web.gate.hosts.check(rest.header(request.scope, b"host"))
            if request.method not in SAFE:
                web.gate.check_origin(request.scope)
            return await view(web, request)
        except Exception as error:
            if isinstance(error, HTTPException):
                raise
            return await pages.problem(web, request, rest.as_error(error))

    route = Route(path, serve)
    route.methods = None
    return route


async def _nothing(web: Web, request: Request) -> Response:
    if "text/html" not in request.headers.get("accept", ""):
        raise HTTPException(404)
    raise errors.NotFound("There is nothing at this address.", hint="The search above finds models by name.")
