"""An HTTP server for tests that remembers what it was sent: the other end of uploads, webhooks and downloads."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    # The port that its sender has on this connection.
    port: int = 0

    @property
    def json(self) -> Any:
        return json.loads(self.body)


# A status, headers and, where there is one, a body.
Answer = tuple[int, dict[str, str]] | tuple[int, dict[str, str], bytes]


class Receiver:
    """`answer` decides what a request is told; `requests` has them in order."""

    def __init__(self, answer: Callable[[Received], Answer]) -> None:
        receiver = self
        self.requests: list[Received] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                got = Received(
                    method=self.command, path=self.path, headers=headers, body=body, at=time.monotonic(),
                    port=self.client_address[1],
                )  # fmt: skip
                receiver.requests.append(got)
                status, extra, *content = answer(got)
                sent = content[0] if content else b""
                self.send_response(status)
                for name, value in {"Content-Length": str(len(sent)), **extra}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(sent)

            do_PUT = do_POST  # noqa: N815 - the standard library's name
            do_GET = do_POST  # noqa: N815 - as above

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def wait(self, count: int, seconds: float = 20) -> list[Received]:
        """At least so many requests."""
        until = time.monotonic() + seconds
        while len(self.requests) < count:
            assert time.monotonic() < until, self.requests
            time.sleep(0.01)
        return self.requests

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def receiver(answer: Callable[[Received], Answer] = lambda _: (200, {})) -> Iterator[Receiver]:
    """A receiver for a `with` block."""
    one = Receiver(answer)
    try:
        yield one
    finally:
        one.close()
