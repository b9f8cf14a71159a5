"""HTTP as weights need it: kept connections, redirects, proxies, and files that come in several attempts.

Standard library only. A client is for one thread at a time.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import http.client
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from modelyard import errors
from modelyard.errors import ModelyardError, TooMany, Unavailable

TIMEOUT_SECONDS = 60.0
ATTEMPTS = 5
_PIECE = 256 * 1024
_MOST_REDIRECTS = 10
REDIRECTS = (301, 302, 303, 307, 308)
_MOST_WAIT_SECONDS = 60.0
_MOST_TEXT = 32 * 1024 * 1024
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)

Body = bytes | Iterator[bytes] | None
Wait = Callable[[float], None]
# Told why an attempt failed, before the next one.
Told = Callable[[ModelyardError], None]
Value = TypeVar("Value")


class CutOffError(Exception):
    """The answer ended before its end."""


# What another attempt may mend.
BROKEN = (OSError, http.client.HTTPException, CutOffError)


class Reply:
    """An answer: its body is read as it comes. `url`: where it came from, after redirects."""

    def __init__(self, url: str, response: http.client.HTTPResponse, hang_up: Callable[[], None]) -> None:
        self.url = url
        self.status = response.status
        self.headers = {key.lower(): value for key, value in response.getheaders()}
        if offered := response.headers.get_all("WWW-Authenticate"):
            self.headers["www-authenticate"] = ", ".join(offered)  # each way in may have a line of its own
        self._response = response
        self._hang_up = hang_up

    def __enter__(self) -> Reply:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._response.isclosed():
            # What is left of the body would be taken for the next answer.
            self._hang_up()

    def read(self) -> bytes:
        """The whole body, which is small. Raises what a broken connection raises."""
        body = bytearray()
        for piece in self.pieces():
            body += piece
            if len(body) > _MOST_TEXT:
                raise Unavailable(f"{self.url} answers with more than {_MOST_TEXT} bytes where a text is wanted")
        return bytes(body)

    def pieces(self) -> Iterator[bytes]:
        """The body piece by piece."""
        left = self._response.length
        while piece := self._response.read1(_PIECE):
            left = None if left is None else left - len(piece)
            yield piece
        if left:
            raise CutOffError(f"the connection was closed {left} bytes before the end")
        self._response.read()  # there is nothing more; this says so, and the connection is for the next request


class Client:
    """Asks servers, over one kept connection to each. `may_connect`: may it be asked at this IP address?"""

    def __init__(
        self,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        agent: str = "modelyard",
        may_connect: Callable[[str], bool] | None = None,
    ) -> None:
        self.may_connect = may_connect
        self.timeout_seconds = timeout_seconds
        self._agent = agent
        # Is the proxy that the environment names passed over?
        self.direct = False
        self._connections: dict[tuple[str, str], _Plain] = {}
        self._is_cut = False

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up everywhere."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def cut(self) -> None:
        """End whatever goes on, from another thread, whether the other side says something or not; for good."""
        self._is_cut = True
        for connection in [*self._connections.values()]:
            # Not its own `shutdown`, which takes what encrypts away from whoever is reading.
            with contextlib.suppress(OSError, TypeError):
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    def open(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: Body = None, *, follow: bool = True
    ) -> Reply:
        """Ask, and follow redirects of what can be asked again; another host never sees who asks.

        Raises OSError and HTTPException where nobody answers; every status is an answer.
        """
        wanted = dict(headers or {})
        for _ in range(_MOST_REDIRECTS):
            reply = self._once(method, url, wanted, body)
            if not follow or method not in ("GET", "HEAD") or reply.status not in REDIRECTS:
                return reply
            with reply:
                reply.read()
            told = reply.headers.get("location", "")
            where = address(url, told)
            if not where:
                raise Unavailable(f"{url} leads to {told!r}, which is no address")
            if _origin(urlsplit(where)) != _origin(urlsplit(url)):
                wanted = {key: value for key, value in wanted.items() if key.lower() != "authorization"}
            url = where
        raise Unavailable(f"{url} leads from one address to the next without end")

    def _once(self, method: str, url: str, headers: dict[str, str], body: Body) -> Reply:
        parts = urlsplit(url)
        key = _origin(parts)
        kept = self._connections.get(key)
        try:
            return self._send(kept or self._connect(parts), method, parts, headers, body)
        except BROKEN:
            self._drop(key)
            # A connection that was kept may have been closed meanwhile; what cannot be sent again is not.
            if kept is None or isinstance(body, Iterator):
                raise
            try:
                return self._send(self._connect(parts), method, parts, headers, body)
            except BROKEN:
                self._drop(key)
                raise

    def _send(
        self,
        connection: _Plain,
        method: str,
        parts: SplitResult,
        headers: dict[str, str],
        body: Body,
    ) -> Reply:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        all_headers = {"User-Agent": self._agent, "Accept-Encoding": "identity", **headers}
        connection.request(method, path, body, all_headers)
        response = connection.getresponse()
        return Reply(parts.geturl(), response, lambda: self._drop(_origin(parts)))

    def _connect(self, parts: SplitResult) -> _Plain:
        host, port, secure = parts.hostname or "", parts.port, parts.scheme == "https"
        passed_over = self.direct or urllib.request.proxy_bypass(host)
        proxy = None if passed_over else urllib.request.getproxies().get(parts.scheme)
        connection: _Plain
        if proxy:
            via = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
            connection = self._plain_or_secure(via.hostname or "", via.port, secure)
            connection.set_tunnel(host, port or (443 if secure else 80), _proxy_login(via))
        else:
            connection = self._plain_or_secure(host, port, secure)
        connection.connected = partial(self._check, "" if proxy else host)
        self._connections[_origin(parts)] = connection
        return connection

    def _check(self, host: str, address: str) -> None:
        """It is the address that was connected to that counts, each time, whatever the name stood for before."""
        if self._is_cut:
            raise CutOffError("nobody waits for it any more")
        if host and self.may_connect is not None and not self.may_connect(address):
            raise errors.Forbidden(f"{host} is at {address}, an address of a private network, which is not asked")

    def _plain_or_secure(self, host: str, port: int | None, secure: bool) -> _Plain:
        if secure:
            return _Secure(host, port, timeout=self.timeout_seconds)
        return _Plain(host, port, timeout=self.timeout_seconds)

    def _drop(self, key: tuple[str, str]) -> None:
        connection = self._connections.pop(key, None)
        if connection is not None:
            connection.close()


class _Plain(http.client.HTTPConnection):
    """It connects by itself where it has to, as often as the other side closes it; `connected` is told of each time."""

    connected: Callable[[str], None]

    def connect(self) -> None:
        """Connect, by way of a proxy where one was set."""
        super().connect()
        try:
            self.connected(str(self.sock.getpeername()[0]))
        except (ModelyardError, *BROKEN):
            self.close()
            raise


class _Secure(_Plain):
    """Its socket is known while the two sides still agree on how to encrypt, so that it can be cut then too."""

    default_port = http.client.HTTPS_PORT

    def connect(self) -> None:
        """Connect, and agree on how to encrypt. Raises SSLError."""
        super().connect()
        host = self._tunnel_host or self.host  # type: ignore[attr-defined]
        context = ssl.create_default_context()
        self.sock = context.wrap_socket(self.sock, server_hostname=host, do_handshake_on_connect=False)
        self.sock.do_handshake()


def address(base: str, text: str) -> str:
    """Where a server at `base` leads to with this text; empty where that is no address of HTTP."""
    try:
        where = urljoin(base, text)
        parts = urlsplit(where)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) and where.isascii()
    except ValueError:
        return ""
    return where if good and where.isprintable() and " " not in where else ""


def _origin(parts: SplitResult) -> tuple[str, str]:
    return parts.scheme, parts.netloc


def _proxy_login(via: SplitResult) -> dict[str, str]:
    if not via.username:
        return {}
    said = f"{unquote(via.username)}:{unquote(via.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(said.encode()).decode()}


def reason(error: BaseException) -> str:
    """Why nobody answered, in words."""
    if isinstance(error, TimeoutError):
        return "it took too long to answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted here: {error.verify_message}"
    said = error.strerror if isinstance(error, OSError) else None
    return said or str(error) or type(error).__name__


def unreachable(url: str, error: BaseException, hint: str = "") -> Unavailable:
    """The error for a server that does not answer, or not to the end."""
    if isinstance(error, CutOffError | http.client.IncompleteRead):
        hint = "try again in a moment; if it stays so, what it has is damaged, or something on the way cuts it off"
        return Unavailable(f"{urlsplit(url).netloc} does not answer as it should: {reason(error)}", hint=hint)
    return Unavailable(f"{urlsplit(url).netloc} does not answer: {reason(error)}", hint=hint or "is its address right?")


def refused(url: str, status: int, said: str = "", *, retry_after: str = "") -> ModelyardError:
    """The error for a status that is none of success."""
    host, why = urlsplit(url).netloc, f": {said}" if said else ""
    if status == 401:
        return errors.Unauthenticated(f"{host} does not know who asks for {url}{why}")
    if status == 403:
        return errors.Forbidden(f"{host} does not let you have {url}{why}")
    if status == 404:
        return errors.NotFound(f"{host} has nothing at {url}{why}")
    if status == 429:
        seconds = int(retry_after) if retry_after.isdecimal() else 1
        return TooMany(f"{host} is asked too often{why}", max(1, seconds), hint="try again later")
    if status >= 500:
        return Unavailable(f"{host} is not well, status {status}{why}", hint="try again in a moment")
    return errors.BadRequest(f"{host} refuses {url} with status {status}{why}")


def again(
    function: Callable[[], Value],
    *,
    url: str,
    wait: Wait = time.sleep,
    attempts: int = ATTEMPTS,
    away: Callable[[BaseException], ModelyardError] | None = None,
    told: Told = lambda _: None,
) -> Value:
    """What the function gives, in several attempts where nobody answers or it is not the time.

    `away`: the error where nobody answers, else the one that names the host of `url`. Raises Unavailable when
    none succeeds, and what else the function raises at once. `told` hears why an attempt failed, before the next one.
    """
    for attempt in range(attempts):
        try:
            return function()
        except (*BROKEN, Unavailable, TooMany) as error:
            shown = _shown(error, away or partial(unreachable, url))
            if attempt == attempts - 1:
                raise shown from None
            told(shown)
            wait(_pause(attempt, error))
    raise AssertionError("the last attempt returns or raises")


def _shown(error: BaseException, away: Callable[[BaseException], ModelyardError]) -> ModelyardError:
    return error if isinstance(error, ModelyardError) else away(error)


def _pause(attempt: int, error: BaseException) -> float:
    told = error.retry_after if isinstance(error, TooMany) else 0
    return float(min(max(told, 0.2 * 2**attempt), _MOST_WAIT_SECONDS))


def download(
    ask: Callable[[Mapping[str, str]], Reply],
    into: Path,
    *,
    url: str,
    validator: str | None = None,
    progress: Callable[[int], None] = lambda _: None,
    wait: Wait = time.sleep,
    attempts: int = ATTEMPTS,
    told: Told = lambda _: None,
) -> str:
    """Bring a file to `into`, going on from what is there already; gives its digest.

    `ask` is given a `Range` to send, gives the reply with its status 200, 206 or 416 and raises for others.
    `validator`: a strong entity tag of the content that the part at `into` belongs to. `progress` is told of bytes as
    they come, of those that were there already too, and of a negative number where they turn out to be worthless.
    """
    part = _Part(into, progress)
    failures = 0
    while True:
        before = part.have
        try:
            with ask(_range(part.have, validator)) as reply:
                part.receive(reply)
        except (*BROKEN, Unavailable, TooMany) as error:
            if _is_local(error):
                raise
            failures = 1 if part.have > before else failures + 1
            shown = _shown(error, partial(unreachable, url))
            if failures >= attempts:
                raise shown from None
            progress(0)  # whoever wants no more says so here
            told(shown)
            wait(_pause(failures - 1, error))
        else:
            return part.digest


class _Part:
    """The part of a file that is here, with its digest."""

    def __init__(self, path: Path, progress: Callable[[int], None]) -> None:
        self._path = path
        self._progress = progress
        self._hasher = hashlib.sha256()
        self.have = 0
        if path.exists():
            with path.open("rb") as file:
                while piece := file.read(_PIECE):
                    self._count(piece)

    @property
    def digest(self) -> str:
        return "sha256:" + self._hasher.hexdigest()

    def receive(self, reply: Reply) -> None:
        """Put what comes behind what is here. Raises CutOffError for what does not fit."""
        if reply.status == 416 and self.have and _total(reply) == self.have:
            return
        goes_on = reply.status == 206 and reply.headers.get("content-range", "").startswith(f"bytes {self.have}-")
        if self.have and not goes_on:
            # It begins at its beginning, so what is there is not of this content.
            self._begin_anew()
        if reply.status != 200 and not goes_on:
            raise CutOffError("the server sends another part than was asked for")
        with self._path.open("ab") as file:
            for piece in reply.pieces():
                file.write(piece)
                self._count(piece)

    def _count(self, piece: bytes) -> None:
        self._hasher.update(piece)
        self.have += len(piece)
        self._progress(len(piece))

    def _begin_anew(self) -> None:
        self._progress(-self.have)
        self._path.unlink()
        self.have, self._hasher = 0, hashlib.sha256()


def _is_local(error: BaseException) -> bool:
    """Is it the disk that failed, and not the network?"""
    return isinstance(error, OSError) and (bool(error.filename) or error.errno in _DISK)


def _range(have: int, validator: str | None) -> dict[str, str]:
    if not have:
        return {}
    return {"Range": f"bytes={have}-", **({"If-Range": validator} if validator else {})}


def _total(reply: Reply) -> int | None:
    total = reply.headers.get("content-range", "").rpartition("/")[2]
    return int(total) if total.isdecimal() else None
