"""Brings the bytes of a URL or a data URI to a file. Loaded when the first one comes: its imports are slow.

Where addresses inside the network are off limits, the name is resolved once, every address that it has is judged,
and the connection goes to the one that was judged; so it is for every redirect.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, unquote_to_bytes, urljoin, urlsplit

from modelyard_runner.addresses import lenient_base64
from modelyard_runner.media import FetchError, ending_of, filename_of, safe_name

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 30.0
# What comes slower than this, over the time that silence may last, will not come in any time that somebody waits for.
SLOWEST_BYTES_PER_SECOND = 1024
MOST_REDIRECTS = 10
TRIES = 3
PIECE = 256 * 1024

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class _AgainError(Exception):
    """The server, or the way there, failed in a manner that may pass."""


def fetch(
    url: str, new_path: Callable[[str], str], *, allowed: Callable[[str], bool], patience: float = READ_TIMEOUT
) -> str:
    """Writes the bytes to `new_path(name)` and gives that path. Raises FetchError; OSError when the disk fails.

    `allowed` says whether an IP address may be asked: `anywhere`, or `is_public`. `patience`: seconds to wait for an
    answer, or for a next piece of it.
    """
    if url[:5].lower() == "data:":
        return _unpack(url, new_path)
    shown = url if len(url) <= 200 else url[:200] + "…"
    for attempt in range(TRIES):
        try:
            return _download(url, new_path, allowed, patience)
        except _AgainError as error:
            if attempt == TRIES - 1:
                raise FetchError(f"{shown}: {error}") from error
            time.sleep(0.2 * 2**attempt)
        except FetchError as error:
            raise FetchError(f"{shown}: {error}") from error
    raise AssertionError


def _unpack(uri: str, new_path: Callable[[str], str]) -> str:
    head, comma, body = uri[5:].partition(",")
    if not comma:
        raise FetchError("a data URI without a comma: expected data:<type>;base64,<data>")
    if head.lower().endswith(";base64"):
        try:
            data = lenient_base64(body)
        except ValueError as error:
            raise FetchError(f"a data URI that is not base64: {error}") from error
    else:
        data = unquote_to_bytes(body)
    path = new_path(filename_of(uri))
    Path(path).write_bytes(data)
    return path


def _download(url: str, new_path: Callable[[str], str], allowed: Callable[[str], bool], patience: float) -> str:
    name = filename_of(url)
    for _ in range(MOST_REDIRECTS + 1):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise FetchError("redirected to something that is no http or https URL")
        connection = _connect(parts, allowed, patience)
        try:
            response = _ask(connection, parts, patience)
            if response.status in (301, 302, 303, 307, 308) and response.headers.get("Location"):
                url = urljoin(url, response.headers["Location"])
                continue
            if response.status in (500, 502, 503, 504):
                raise _AgainError(f"{response.status} {response.reason}")
            if response.status != 200:
                raise FetchError(f"{response.status} {response.reason}")
            if "." not in name:
                name += ending_of(response.headers.get("Content-Type", ""))
            path = new_path(safe_name(name))
            _save(response, path, patience)
            return path
        finally:
            connection.close()
    raise FetchError(f"more than {MOST_REDIRECTS} redirects")


def _ask(connection: http.client.HTTPConnection, parts: SplitResult, patience: float) -> http.client.HTTPResponse:
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    headers = {"User-Agent": "modelyard", "Accept": "*/*", "Accept-Encoding": "identity"}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    # A socket's own limit begins anew with every byte; an answer's head may not come byte by byte for ever.
    until = time.monotonic() + patience
    limit = threading.Timer(patience, _hang_up, (connection.sock,))
    limit.daemon = True
    limit.start()
    try:
        connection.request("GET", _ascii(target), headers=headers)
        return connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, TimeoutError) or time.monotonic() >= until:
            raise FetchError(f"no answer within {patience:g} seconds") from error
        raise _AgainError(f"no answer: {error or type(error).__name__}") from error
    finally:
        limit.cancel()


def _hang_up(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _ascii(target: str) -> str:
    return quote(target, safe="/:?#[]@!$&'()*+,;=%~-._")


def _save(response: http.client.HTTPResponse, path: str, patience: float) -> None:
    expected = response.length
    size = seen = 0
    look_at = time.monotonic() + patience
    try:
        with Path(path).open("wb") as file:
            while piece := response.read1(PIECE):
                size += file.write(piece)
                if time.monotonic() >= look_at:
                    if size - seen < SLOWEST_BYTES_PER_SECOND * patience:
                        raise FetchError(f"only {size - seen} bytes came in {patience:g} seconds")
                    seen, look_at = size, time.monotonic() + READ_TIMEOUT
    except TimeoutError as error:
        raise FetchError(f"nothing came for {patience:g} seconds") from error
    except http.client.HTTPException as error:
        raise FetchError(f"it broke off after {size} bytes") from error
    if expected is not None and size != expected:
        raise FetchError(f"it broke off after {size} of {expected} bytes")


def _connect(parts: SplitResult, allowed: Callable[[str], bool], patience: float) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    try:
        port = parts.port or (443 if secure else 80)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError) as error:
        raise FetchError(f"the host {host!r} is not known: {error}") from error
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not allowed(address):
            raise FetchError(f"{host} is at {address}, which is not a public address; only those are fetched from")
    connected = _dial(addresses, port)
    connection: http.client.HTTPConnection
    if secure:
        try:
            connected = ssl.create_default_context().wrap_socket(connected, server_hostname=host)
        except OSError as error:
            connected.close()
            raise FetchError(f"no secure connection: {error}") from error
        connection = http.client.HTTPSConnection(host, port)
    else:
        connection = http.client.HTTPConnection(host, port)
    connected.settimeout(patience)
    connection.sock = connected
    return connection


def _dial(addresses: list[str], port: int) -> socket.socket:
    last: OSError | None = None
    for address in addresses:
        try:
            return socket.create_connection((address, port), timeout=CONNECT_TIMEOUT)
        except TimeoutError as error:
            last = TimeoutError(f"no connection within {CONNECT_TIMEOUT:.0f} seconds")
            last.__cause__ = error
        except OSError as error:
            last = error
    raise _AgainError(f"no connection: {last}")


def anywhere(_: str) -> bool:
    """Every address may be asked."""
    return True


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open Internet: no private, loopback, link-local, shared or multicast one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast
