"""Where a Cog server says how a prediction gets on: a small HTTP server for its webhooks.

An address holds a secret of the prediction, since other containers may reach this server, too.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Listener = Callable[[dict[str, Any]], None]
MAX_BODY = 256 * 1024 * 1024


class Hook:
    """Listens at `host`; `name` is what containers call it."""

    def __init__(self, host: str, name: str) -> None:
        self._listeners: dict[str, Listener] = {}
        self.deaf = False  # nothing came where something was expected: a firewall, say
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                listener = hook._listeners.get(self.path)
                if listener is None or size > MAX_BODY:
                    self.send_error(404)
                    return
                hook.deaf = False
                body = self.rfile.read(size)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()
                _tell(listener, body)

            def log_message(self, format: str, *arguments: object) -> None:
                """Nothing: every line of a model would be one here."""

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = True
        self._name = name
        threading.Thread(target=self._server.serve_forever, name="modelyard-hook", daemon=True).start()

    def listen(self, listener: Listener) -> str:
        """An address for one prediction, whose states `listener` is told."""
        path = f"/{os.urandom(20).hex()}"
        self._listeners[path] = listener
        return f"http://{self._name}:{self._server.server_port}{path}"

    def forget(self, address: str) -> None:
        """That prediction has ended."""
        self._listeners.pop("/" + address.rpartition("/")[2], None)


def _tell(listener: Listener, body: bytes) -> None:
    try:
        state = json.loads(body)
    except ValueError:
        return
    if isinstance(state, dict):
        listener(state)
