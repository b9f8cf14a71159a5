"""HTTP/1.1 as far as the commands of every day need it: one request a connection, over a socket of our own.

The standard library's client loads its parser of e-mails first, which takes longer than all that a listing does.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import BinaryIO
from urllib.parse import urlsplit

_LONGEST_LINE = 64 * 1024
_MOST_HEADERS = 200
_PIECE = 64 * 1024


class WireError(Exception):
    """What answers does not speak HTTP, or stopped in the middle of its answer."""


class Reply:
    """An answer whose body is read as it comes."""

    def __init__(self, connection: socket.socket, method: str) -> None:
        self._connection = connection
        self._file: BinaryIO = connection.makefile("rb")
        self._method = method
        self.status = self._read_status()
        self.headers = self._read_headers()
        while 100 <= self.status < 200:
            self.status = self._read_status()
            self.headers = self._read_headers()

    def __enter__(self) -> Reply:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._connection.close()

    def read(self) -> bytes:
        """The whole body."""
        return b"".join(self.pieces())

    def lines(self) -> Iterator[bytes]:
        """The body line by line, without line ends, as they come."""
        waiting = b""
        for piece in self.pieces():
            *lines, waiting = (waiting + piece).split(b"\n")
            yield from (line.removesuffix(b"\r") for line in lines)
        if waiting:
            yield waiting

    def pieces(self) -> Iterator[bytes]:
        """The body in pieces as they come. Raises WireError, OSError."""
        if self._method == "HEAD" or self.status in (204, 304):
            return
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            yield from self._chunks()
            return
        length = self.headers.get("content-length")
        left = int(length) if length is not None and length.isdigit() else None
        while left is None or left > 0:
            piece = self._file.read1(_PIECE if left is None else min(left, _PIECE))  # type: ignore[attr-defined]
            if not piece:
                if left is not None:
                    raise WireError("the answer was cut off")
                return
            left = None if left is None else left - len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while True:
            size_text = self._line().partition(b";")[0].strip()
            try:
                left = int(size_text, 16)
            except ValueError:
                raise WireError("the answer was cut off") from None
            if left == 0:
                return
            while left:
                piece = self._file.read1(min(left, _PIECE))  # type: ignore[attr-defined]
                if not piece:
                    raise WireError("the answer was cut off")
                left -= len(piece)
                yield piece
            self._line()

    def _read_status(self) -> int:
        version, _, rest = self._line().partition(b" ")
        code = rest[:3]
        if not version.startswith(b"HTTP/1.") or not code.isdigit():
            raise WireError("what answers does not speak HTTP")
        return int(code)

    def _read_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for _ in range(_MOST_HEADERS):
            line = self._line()
            if not line:
                return headers
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        raise WireError("what answers sends headers without end")

    def _line(self) -> bytes:
        line = self._file.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise WireError("the answer was cut off" if line else "the connection was closed without an answer")
        return line.rstrip(b"\r\n")


def send(
    url: str,
    method: str,
    path: str,
    *,
    data: bytes | None = None,
    headers: Mapping[str, str],
    timeout_seconds: float | None,
) -> Reply:
    """Ask the host of `url` (whose own path stands before `path`). Raises OSError, WireError."""
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    connection = socket.create_connection((host, parts.port or (443 if secure else 80)), timeout_seconds)
    try:
        # What is small is sent at once.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if secure:
            connection = _secured(connection, host)
        lines = [f"{method} {parts.path}{path} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}"]
        lines += ["Connection: close", *(f"{name}: {value}" for name, value in headers.items())]
        if data is not None or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(data or b'')}")
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + (data or b""))
        return Reply(connection, method)
    except BaseException:
        connection.close()
        raise


def _secured(connection: socket.socket, host: str) -> socket.socket:
    # Only where it is wanted: it costs as much as all the rest.
    import ssl

    return ssl.create_default_context().wrap_socket(connection, server_hostname=host)
