"""The pages of a playground: a form of one model's schema, and its server behind the same address."""

from __future__ import annotations

import asyncio
import base64
import email
import socket
import threading
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from email.message import Message
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from modelyard.cli import playground_target
from modelyard.web import assets, pages

_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - only compared
# What belongs to one connection (RFC 9110), and what is the page's own.
_OF_CONNECTIONS: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length"}
)
_OF_THE_PAGE: Final = frozenset({"host", "origin", "referer", "cookie", "accept-encoding"})
_MOST_BYTES: Final = 100 * 1024 * 1024


class Playground:
    """One page for the model that is served at `target`; `host` is where the page is served."""

    def __init__(self, target: str, host: str) -> None:
        self.target = target
        self._names = None if host in _EVERYWHERE else _LOCAL | {host}
        self._session: aiohttp.ClientSession | None = None
        routes = [
            Route("/", self._page),
            Route("/state", self._state),
            Route("/static/{digest}/{name:path}", assets.get),
            Route("/v1/files", self._file, methods=["POST"]),
            Route("/model/{path:path}", self._pass_on, methods=["GET", "POST", "PUT"]),
        ]
        self.app = Starlette(routes=routes, lifespan=self._living)

    @asynccontextmanager
    async def _living(self, _: Starlette) -> AsyncIterator[None]:
        # A model may take as long as it likes.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as self._session:
            yield

    def _refused(self, request: Request) -> Response | None:
        """Only pages of ours may ask: no other site, also not one that has made its name lead here."""
        host = urlsplit(f"//{request.headers.get('host', '')}")
        origin = request.headers.get("origin")
        known = self._names is None or host.hostname in self._names
        if known and (origin is None or urlsplit(origin).netloc == host.netloc):
            return None
        return PlainTextResponse("This playground answers to its own pages.\n", 403)

    async def _page(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        seen = await self._look()
        text = pages.render("playground.html", target=self.target, seen=seen, form=seen.form)
        return pages.html(request, text, seen.http_status)

    async def _state(self, request: Request) -> Response:
        """What a page without a form waits for."""
        return self._refused(request) or JSONResponse((await self._look()).changing)

    async def _look(self) -> playground_target.Seen:
        assert self._session is not None  # noqa: S101 - the application lives
        return await playground_target.look(self._session, self.target)

    async def _file(self, request: Request) -> Response:
        """A chosen file as a data URL, which every server of a model can read."""
        if (refused := self._refused(request)) is not None:
            return refused
        if int(request.headers.get("content-length", _MOST_BYTES + 1)) > _MOST_BYTES:
            return JSONResponse({"detail": "A file may have 100 MB at most; give its address instead."}, 413)
        head = f"Content-Type: {request.headers.get('content-type', '')}\r\n\r\n".encode()
        parts = email.message_from_bytes(head + await request.body())
        chosen = next((part for part in parts.walk() if part.get_filename()), None)
        if chosen is None:
            return JSONResponse({"detail": "No file was sent."}, 400)
        return JSONResponse({"urls": {"get": _data_url(chosen)}})

    async def _pass_on(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        query = f"?{request.url.query}" if request.url.query else ""
        dropped = _OF_CONNECTIONS | _OF_THE_PAGE
        headers = {name: value for name, value in request.headers.items() if name not in dropped}
        body = await request.body()
        try:
            assert self._session is not None  # noqa: S101 - the application lives
            asking = self._session.request(
                request.method,
                f"{self.target}/{request.path_params['path']}{query}",
                headers={**headers, "Accept-Encoding": "identity"},
                data=body or None,
                allow_redirects=False,
            )
            reply = await _unless_left(request, asking)
        except (aiohttp.ClientError, TimeoutError) as error:
            return JSONResponse({"error": f"The model's server does not answer: {error}"}, 502)
        if reply is None:
            return Response(status_code=499)  # nobody reads it
        kept = {name: value for name, value in reply.headers.items() if name.lower() not in _OF_CONNECTIONS}
        return StreamingResponse(_pieces(reply), reply.status, kept)


async def _unless_left(request: Request, asking: Awaitable[aiohttp.ClientResponse]) -> aiohttp.ClientResponse | None:
    """The model's answer; None where the page is closed before, and then the model's server sees its caller leave."""
    answer, left = asyncio.ensure_future(asking), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({answer, left}, return_when=asyncio.FIRST_COMPLETED)
        return await answer if answer.done() else None
    finally:
        answer.cancel()
        left.cancel()


async def _pieces(reply: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with reply:
        async for piece in reply.content.iter_any():
            yield piece


def _data_url(part: Message[str, str]) -> str:
    content = part.get_payload(decode=True)
    encoded = base64.b64encode(content if isinstance(content, bytes) else b"").decode()
    return f"data:{part.get_content_type()};base64,{encoded}"


def serve(target: str, host: str, listening: socket.socket) -> None:
    """Serve a playground until Ctrl-C; in another thread than the first, for as long as the process lives."""
    config: dict[str, Any] = {"log_level": "warning", "access_log": False, "timeout_graceful_shutdown": 1}
    server = uvicorn.Server(uvicorn.Config(Playground(target, host).app, **config))
    asyncio.run(server.serve(sockets=[listening]))


def serve_beside(target: str, host: str, listening: socket.socket) -> None:
    """The same, beside what this process does."""
    threading.Thread(target=serve, args=(target, host, listening), daemon=True, name="playground").start()
