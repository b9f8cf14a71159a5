"""Pages as responses: the templates, what all of them may say, and the headers that keep a page from harm."""

from __future__ import annotations

import gzip
from functools import cache
from typing import Any

import jinja2
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from modelyard import errors, rest
from modelyard.accounts import Actor
from modelyard.web import assets, words
from modelyard.web.base import Web, visitor

# Nothing runs and nothing is loaded but what this yard serves; no other site may frame a page (W3C CSP 3).
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
    "vary": "accept-encoding",
}
_WORTH_PACKING = 1000


@cache
def templates() -> jinja2.Environment:
    """The environment of all templates. Everything that goes into one is text unless it says that it is markup."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("modelyard.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals.update(static=assets.address, time_text=rest.time_text)
    made.filters.update(
        state=words.state,
        duration=words.duration,
        size=words.size,
        count=words.count,
        plain=words.plain,
        blocks=words.blocks,
        said=words.said,
        json=lambda value: msgspec.json.encode(value).decode(),
    )
    return made


def render(name: str, **values: Any) -> str:
    """A template as text."""
    return templates().get_template(name).render(**values)


def html(request: Request, text: str, status: int = 200) -> Response:
    """Markup as a response."""
    body, headers = text.encode("utf-8", "replace"), dict(_HEADERS)
    if len(body) > _WORTH_PACKING and "gzip" in request.headers.get("accept-encoding", ""):
        # Level 1: a page is made for one reader, who waits for it.
        body = gzip.compress(body, 1, mtime=0)
        headers["content-encoding"] = "gzip"
    return Response(body, status, headers, media_type="text/html")


def page(
    web: Web,
    request: Request,
    actor: Actor | None,
    name: str,
    *,
    status: int = 200,
    data: str | None = None,
    **values: Any,
) -> Response:
    """A whole page for this visitor. `data`: where the API gives the same as JSON."""
    text = render(
        name,
        actor=actor,
        origin=web.addresses.origin(request.scope),
        path=request.scope["path"],
        now=web.clock(),
        ago=lambda us: words.ago(us, web.clock()),
        data=data,
        **values,
    )
    return html(request, text, status)


async def problem(web: Web, request: Request, error: errors.ModelyardError) -> Response:
    """An error as a page."""
    actor = await visitor(web, request) if error.status < 500 else None
    return page(web, request, actor, "error.html", status=error.status, error=error)
