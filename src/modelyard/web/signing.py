"""Signing in by a link, and out again."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from modelyard import errors
from modelyard.sessions import SESSION_SECONDS
from modelyard.web import pages
from modelyard.web.base import Web, visitor

# A path alone: two slashes, or a backslash, would lead to another site.
_PAGE = re.compile(r"/(?:[\w.-]+(?:/[\w.-]+){0,2})?")


async def about(web: Web, request: Request) -> Response:
    """`GET /login`: how it is done."""
    return pages.page(web, request, await visitor(web, request), "login.html", link=None, next="/")


async def ask(web: Web, request: Request) -> Response:
    """`GET /login/{link}`: one button.

    The link is used by pressing it (a script does), not by looking: programs that preview links would use it up, and
    a cookie that is set on the way from another site would not be sent with the page that follows.
    """
    actor, page = await visitor(web, request), _next(request)
    return pages.page(web, request, actor, "login.html", link=request.path_params["link"], next=page)


async def sign_in(web: Web, request: Request) -> Response:
    """`POST /login/{link}`. Raises Forbidden for a link that was used or is too old."""
    session = await web.sessions.use_link(request.path_params["link"])
    if session is None:
        raise errors.Forbidden(
            "This link was used before, or it is too old.",
            hint="`yard open` makes a new one; each signs in one browser.",
        )
    reply = RedirectResponse(_next(request), 303)
    _set_cookie(web, request, reply, session, SESSION_SECONDS)
    return reply


def _next(request: Request) -> str:
    """The page that was asked for: one of this yard, whatever the address says."""
    page = request.query_params.get("next", "/")
    return page if _PAGE.fullmatch(page) else "/"


async def sign_out(web: Web, request: Request) -> Response:
    """`POST /logout`."""
    session = web.gate.session(request.scope)
    if session is not None:
        await web.sessions.end(session.decode("latin-1"))
    reply = RedirectResponse("/", 303)
    _set_cookie(web, request, reply, "", 0)
    return reply


def _set_cookie(web: Web, request: Request, reply: Response, value: str, seconds: int) -> None:
    secure = web.addresses.origin(request.scope).startswith("https:")
    reply.set_cookie(web.gate.cookie, value, max_age=seconds, path="/", httponly=True, samesite="strict", secure=secure)
