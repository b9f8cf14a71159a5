"""HTTP as a scenario speaks it: requests that may go on in the background, their replies as far as they came."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from typing import Any

PATIENCE = 40.0


class Call:
    """One request, under way in a thread of its own. What came of its reply is there at any time."""

    def __init__(self, port: int, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> None:
        self.method = method
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.error = ""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._sent = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(method, path, body, headers), daemon=True)
        self._thread.start()
        self._sent.wait(PATIENCE)

    def _run(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> None:
        try:
            self._connection.putrequest(method, path, skip_accept_encoding=True)
            if body is not None or method in ("POST", "PUT"):
                headers = {"Content-Length": str(len(body or b"")), **headers}
            for name, value in headers.items():
                self._connection.putheader(name, value)
            self._connection.endheaders(body)
            self._sent.set()
            answer = self._connection.getresponse()
            self.headers = {name.lower(): value for name, value in answer.getheaders()}
            self.status = answer.status
            while piece := answer.read1(1024 * 1024):
                self.body += piece
        except (
            OSError,
            http.client.HTTPException,
            AttributeError,
            ValueError,
        ) as error:  # ours to close, theirs to break
            self.error = f"{type(error).__name__}: {error}"
        finally:
            self._sent.set()
            self._connection.close()

    @property
    def done(self) -> bool:
        """Whether the whole reply is there, or will never be."""
        return not self._thread.is_alive()

    def wait(self) -> Call:
        """Itself, with the whole reply."""
        self._thread.join(PATIENCE)
        assert self.done, f"{self.method}: no end of the reply came; so far: {self}"
        return self

    def hang_up(self) -> None:
        """Leaves before the end."""
        if self._connection.sock is not None:
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self.wait()

    @property
    def json(self) -> Any:
        """The body, as JSON."""
        return json.loads(self.body)

    def events(self) -> list[tuple[str, Any]]:
        """The server-sent events that are there as a whole."""
        found = []
        for block in self.body.decode().split("\n\n")[:-1]:
            lines = [line for line in block.split("\n") if not line.startswith(":")]
            if lines:
                name, data = lines[0].removeprefix("event: "), lines[1].removeprefix("data: ")
                found.append((name, json.loads(data)))
        return found

    def __str__(self) -> str:
        shown = self.body.decode(errors="replace")
        return f"{self.status} {self.headers} {shown[:2000]} {self.error}".strip()


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pause() -> None:
    """The moment between two looks."""
    time.sleep(0.02)
