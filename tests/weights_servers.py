"""Servers for tests of weights: plain files, a hub, a registry that sends for tokens, and a line that breaks."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def content(self, data: bytes, **headers: str) -> None:
        """A file, or the part that is asked for."""
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if_range = self.headers.get("If-Range")
        if match is None or (if_range and if_range != headers.get("ETag")):
            self.answer(200, data, **headers)
        elif int(match[1]) >= len(data):
            self.answer(416, Content_Range=f"bytes */{len(data)}")
        else:
            start = int(match[1])
            self.answer(206, data[start:], Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}", **headers)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))


@contextlib.contextmanager
def serving(handle: Any, *, host: str = "127.0.0.1", secure: ssl.SSLContext | None = None) -> Iterator[str]:
    """Its address. `handle(handler)` answers every request."""

    class Handler(_Handler):
        def do_GET(self) -> None:
            handle(self)

        do_HEAD = do_POST = do_DELETE = do_PUT = do_PATCH = do_GET  # noqa: N815 - the library's names

    server = ThreadingHTTPServer((host, 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who hangs up is no news here
    if secure is not None:
        server.socket = secure.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"{'https' if secure else 'http'}://{host}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Files:
    """Plain files by path. `tag` of each is that of its content, unless there are none."""

    files: dict[str, bytes]
    tags: bool = True
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def __call__(self, handler: _Handler) -> None:
        path = urlsplit(handler.path).path
        self.asked.append((handler.command, path, handler.headers.get("Range", "")))
        data = self.files.get(path)
        if data is None:
            handler.answer(404, b"no such file")
        else:
            handler.content(data, **({"ETag": f'"{digest(data)[7:23]}"'} if self.tags else {}))


@dataclass
class Hub:
    """One repository of a hub; names in `large` are told with the digest of their content."""

    files: dict[str, bytes]
    large: tuple[str, ...] = ()
    commit: str = "c" * 40
    token: str = ""
    lies: bool = False
    asked: list[str] = field(default_factory=list)

    def __call__(self, handler: _Handler) -> None:
        path = unquote(urlsplit(handler.path).path)
        self.asked.append(path)
        if self.token and handler.headers.get("Authorization") != f"Bearer {self.token}":
            handler.answer(401, b"{}", X_Error_Message="Access to model o/r is restricted.")
        elif path in ("/api/models/o/r/revision/main", "/api/models/o/r/revision/v1"):
            handler.answer(200, json.dumps({"sha": self.commit}).encode())
        elif path == f"/api/models/o/r/tree/{self.commit}":
            self._tree(handler)
        elif path.startswith(f"/o/r/resolve/{self.commit}/"):
            handler.content(self.files[path.split("/", 5)[5]])
        else:
            handler.answer(404, b"{}")

    def _tree(self, handler: _Handler) -> None:
        """In pages of two, as a hub has them for many files."""
        start = int(parse_qs(urlsplit(handler.path).query).get("cursor", ["0"])[0])
        names = sorted(self.files)
        items: list[dict[str, Any]] = [{"type": "directory", "path": "sub", "oid": "x", "size": 0}]
        for name in names[start : start + 2]:
            data = self.files[name]
            item = {"type": "file", "path": name, "oid": "x", "size": len(data)}
            if name in self.large:
                oid = digest(b"other" if self.lies else data)[7:]
                item |= {"lfs": {"oid": oid, "size": len(data), "pointerSize": 9}}
            items.append(item)
        more = start + 2 < len(names)
        link = f'<http://{handler.headers["Host"]}{urlsplit(handler.path).path}?cursor={start + 2}>; rel="next"'
        handler.answer(200, json.dumps(items).encode(), **({"Link": link} if more else {}))


@dataclass
class TokenRegistry:
    """A registry that wants a token of its own, gives blobs by way of another host, and lets uploads be broken."""

    elsewhere: str = ""
    busy: list[int] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, handler: _Handler) -> None:
        parts = urlsplit(handler.path)
        self.asked.append((handler.command, parts.path))
        said = handler.headers.get("Authorization", "")
        if parts.path == "/token":
            form = parse_qs(handler.body().decode())
            if form.get("refresh_token") == ["identity"]:
                handler.answer(200, b'{"access_token":"secret"}')
            else:
                handler.answer(*self._token(said, parse_qs(parts.query)))
        elif said != "Bearer secret":
            handler.body()
            challenge = f'Bearer realm="http://{handler.headers["Host"]}/token",service="s",scope="repository:o/m:pull"'
            handler.answer(401, b'{"errors":[{"code":"UNAUTHORIZED","message":"who?"}]}', WWW_Authenticate=challenge)
        elif self.busy:
            handler.body()
            handler.answer(self.busy.pop(), b'{"errors":[{"message":"busy"}]}', Retry_After="0")
        else:
            self._answer(handler, parts.path, parse_qs(parts.query))

    def _token(self, said: str, query: dict[str, list[str]]) -> tuple[int, bytes]:
        right = said == "Basic " + base64.b64encode(b"ada:pw").decode() and query["service"] == ["s"]
        return (200, b'{"token":"secret"}') if right else (401, b'{"errors":[{"message":"wrong password"}]}')

    def _answer(self, handler: _Handler, path: str, query: dict[str, list[str]]) -> None:
        kind, name = path.removeprefix("/v2/o/m/").split("/", 1)
        if kind == "blobs" and handler.command == "POST":
            handler.answer(202, Location="/v2/o/m/blobs/uploads/u?state=1")
        elif kind == "blobs" and handler.command == "PUT":
            assert query["state"] == ["1"]
            self.blobs[query["digest"][0]] = handler.body()
            handler.answer(201)
        elif kind == "blobs":
            found = name in self.blobs
            handler.answer(307 if found else 404, Location=f"{self.elsewhere}/{name}")
        elif handler.command == "PUT":
            data = handler.body()
            self.manifests[name] = self.manifests[digest(data)] = data
            handler.answer(201)
        elif name in self.manifests:
            handler.answer(200, self.manifests[name], Content_Type="application/vnd.oci.image.manifest.v1+json")
        else:
            handler.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}')


class Line:
    """A way to a server that breaks: each connection passes only so many bytes of `budgets`, up and down together,
    and the later ones all."""

    def __init__(self, target: str, budgets: list[int]) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._budgets = budgets
        self.connections = self.passed = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.connections += 1
                far = socket.create_connection(self._target)
                left = [self._budgets.pop(0) if self._budgets else 1 << 60]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(one, other, left), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, left: list[int]) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data[: max(0, left[0])])
                left[0] -= len(data)
                self.passed += len(data)
                if left[0] <= 0:
                    break
        for each in (one, other):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
