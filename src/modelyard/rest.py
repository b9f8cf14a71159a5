"""What every HTTP door shares: problem documents, times, cursors, pages, bodies with a limit, our own address."""

from __future__ import annotations

import base64
import binascii
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelyard import errors, logs

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
Handler = Callable[[Request], Awaitable[Response]]
Headers = Sequence[tuple[bytes, bytes]]

# A request's body; longer input belongs into a file.
MAX_BODY_BYTES = 128 * 1024 * 1024

JSON_TYPE = b"application/json"
PROBLEM_TYPE = b"application/problem+json"
NO_STORE = (b"cache-control", b"no-store")
# Of a stream of server-sent events; a proxy before us is not to gather them.
EVENT_STREAM: Headers = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    NO_STORE,
    (b"x-accel-buffering", b"no"),
)
# The key in a scope of what sends a whole answer in one piece (and says whether it did), where the server offers it.
AT_ONCE = "modelyard.at_once"
# And of what ends the connection in the middle of an answer, for which no server else has a word.
CUT_OFF = "modelyard.cut_off"

log = logging.getLogger(__name__)


# -- problems


def problem_body(error: errors.ModelyardError) -> bytes:
    """The problem document (RFC 9457) of an error."""
    document: dict[str, object] = {"title": error.title, "detail": error.detail, "status": error.status, **error.extra}
    if error.hint:
        document["hint"] = error.hint
    if error.status >= 500 and (request_id := logs.request_id()):
        # Whoever asks about it can be shown the log's lines of it.
        document["request_id"] = request_id
    return msgspec.json.encode(document)


def problem_headers(error: errors.ModelyardError) -> list[tuple[bytes, bytes]]:
    """The headers that go with `problem_body`."""
    headers = [(b"content-type", PROBLEM_TYPE), NO_STORE]
    if isinstance(error, errors.TooMany):
        headers.append((b"retry-after", b"%d" % error.retry_after))
    elif isinstance(error, errors.Unavailable):
        headers.append((b"retry-after", b"1"))
    elif isinstance(error, errors.Unauthenticated):
        headers.append((b"www-authenticate", b'Bearer realm="modelyard"'))
    return headers


def as_error(error: BaseException) -> errors.ModelyardError:
    """Any exception as one that may be shown; what is not ours is logged and told as an internal error."""
    if isinstance(error, errors.ModelyardError):
        if error.status >= 500 and error.status not in (503, 507):
            log.error("a request failed: %s", error, exc_info=error)
        return error
    log.error("a request failed: %s", error, exc_info=error)
    return errors.ModelyardError("Something failed inside the yard; its log says what.")


def problem(error: errors.ModelyardError, headers: Mapping[str, str] | None = None) -> Response:
    """An error as a response."""
    response = Response(problem_body(error), status_code=error.status, headers=headers)
    response.raw_headers.extend(problem_headers(error))
    return response


async def _on_error(_: Request, error: Exception) -> Response:
    return problem(as_error(error))


_NO_SUCH_PLACE = "The requested resource could not be found."


async def _on_http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    if status == 404:
        return problem(errors.NotFound(_NO_SUCH_PLACE))
    shown = errors.ModelyardError(getattr(error, "detail", ""))
    if status == 405:
        shown = errors.ModelyardError(f"{request.method} is not allowed here.", title="Method not allowed")
    body = msgspec.json.encode({"title": shown.title, "detail": shown.detail, "status": status})
    return Response(body, status, headers, media_type=PROBLEM_TYPE.decode())


def exception_handlers() -> dict[Any, Callable[[Request, Exception], Awaitable[Response]]]:
    """What an application of routes needs so that every error it shows is a problem document."""
    return {HTTPException: _on_http_error, errors.ModelyardError: _on_error, Exception: _on_error}


def resource(path: str, **handlers: Handler) -> BaseRoute:
    """One path and what its methods (named in capitals) do; any other method is told which there are."""
    table = dict(handlers)
    if "GET" in table:
        table.setdefault("HEAD", table["GET"])
    allow = ", ".join(sorted(table))

    async def serve(request: Request) -> Response:
        handler = table.get(request.method)
        if handler is None:
            raise HTTPException(405, headers={"Allow": allow})
        try:
            return await handler(request)
        except Exception as error:
            if isinstance(error, HTTPException):
                raise
            return problem(as_error(error))

    route = Route(path, serve)
    route.methods = None
    return route


# -- replies


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Any value that JSON can carry (`msgspec.Raw` for what is JSON already), never kept by a cache."""
    response = Response(msgspec.json.encode(value), status_code=status, headers=headers)
    response.raw_headers.extend([(b"content-type", JSON_TYPE), NO_STORE])
    return response


async def reply(scope: Scope, send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """A whole answer, without a framework's help. Names in lower case, values without control characters."""
    if status not in (204, 304):
        headers.append((b"content-length", b"%d" % len(body)))
    at_once = scope.get(AT_ONCE)
    if at_once is not None and at_once(status, headers, body):
        return
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def reply_problem(scope: Scope, send: Send, error: errors.ModelyardError) -> None:
    """An error, without a framework's help."""
    await reply(scope, send, error.status, problem_headers(error), problem_body(error))


# -- times


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def time_text(us: int) -> str:
    """Microseconds since 1970 as `YYYY-MM-DDTHH:MM:SS.ffffffZ`."""
    seconds, micro = divmod(us, 1_000_000)
    return f"{_second(seconds)}.{micro:06d}Z"


def optional_time(us: int | None) -> str | None:
    """The same, or None."""
    return None if us is None else time_text(us)


def parse_time(name: str, text: str) -> int:
    """An ISO 8601 time as microseconds since 1970; without a zone it is UTC. Raises BadRequest that names `name`."""
    # A plus sign that was not escaped arrives as a space.
    shape = text.strip().replace(" ", "+") if "T" in text else text.strip()
    try:
        at = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", shape))
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        return int((at - _EPOCH).total_seconds()) * 1_000_000 + at.microsecond
    except (ValueError, OverflowError):
        raise errors.BadRequest(
            f"Query parameter {name!r} is {text!r}; an ISO 8601 time is wanted, such as 2026-01-31T12:00:00Z."
        ) from None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# -- cursors and pages


def cursor(at: int, last_id: str) -> str:
    """Where a page ended: the last row's time and id."""
    return base64.urlsafe_b64encode(f"{at}:{last_id}".encode()).decode().rstrip("=")


def parse_cursor(text: str | None) -> tuple[int, str] | None:
    """The (time, id) of a cursor; None without one. Raises BadRequest."""
    if not text:
        return None
    try:
        plain = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
        at, separator, last_id = plain.partition(":")
        if not separator or not at.isascii() or not at.isdigit() or len(at) > 18 or "\x00" in last_id:
            raise ValueError(plain)
        return int(at), last_id
    except (ValueError, binascii.Error):
        raise errors.BadRequest(
            "Query parameter 'cursor' is not one of ours.", hint="Take `next` from the page before as it is."
        ) from None


def page(results: Sequence[object], more: str | None) -> Response:
    """A page of results; `more` is the absolute address of the next one."""
    return json_response({"next": more, "previous": None, "results": results})


def next_url(origin: str, request: Request, next_cursor: str) -> str:
    """The address of the next page: this one's, its filters kept, with another cursor."""
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f"{origin}{request.scope['path']}?{urlencode([*kept, ('cursor', next_cursor)])}"


# -- requests


async def read_body(receive: Receive, limit: int = MAX_BODY_BYTES) -> bytes:
    """The whole body. Raises TooLarge as soon as it is longer than `limit` bytes."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise errors.BadRequest("The request ended before its body did.")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                raise too_large(limit)
        body = b"".join(parts)
    if len(body) > limit:
        raise too_large(limit)
    return body


def limited(receive: Receive, limit: int) -> Receive:
    """`receive` that raises TooLarge once more than `limit` bytes of body came."""
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise too_large(limit)
        return message

    return counted


def too_large(limit: int) -> errors.TooLarge:
    """The error of a body that is too long."""
    return errors.TooLarge(
        f"The request's body is longer than {limit // 2**20} MiB.",
        hint="Upload large inputs with POST /v1/files and pass their address.",
    )


def header(scope: Scope, name: bytes) -> bytes:
    """The value of a header (name in lower case); empty when it is missing."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return b""


class Addresses:
    """The address that a caller knows the yard by: the configured one, else the one that the request used."""

    def __init__(self, public_url: str | None) -> None:
        self._public = public_url.rstrip("/") if public_url else None
        self._known: dict[tuple[str, bytes], str] = {}

    def origin(self, scope: Scope, host: bytes | None = None) -> str:
        """Scheme and host, without a trailing slash."""
        if self._public is not None:
            return self._public
        if host is None:
            host = header(scope, b"host")
        key = (scope["scheme"], host)
        known = self._known.get(key)
        if known is None:
            known = _origin(scope, host)
            if len(self._known) < 1000:
                self._known[key] = known
        return known


_HOST = re.compile(r"[A-Za-z0-9._-]+(?::\d{1,5})?|\[[0-9a-fA-F:.]+\](?::\d{1,5})?")


def _origin(scope: Scope, host: bytes) -> str:
    text = host.decode("latin-1")
    if not _HOST.fullmatch(text):
        name, port = scope.get("server") or ("127.0.0.1", None)
        text = name if port is None else f"{name}:{port}"
    return f"{scope['scheme']}://{text}"
