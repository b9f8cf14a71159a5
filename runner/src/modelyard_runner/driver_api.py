"""Cog's HTTP API as its driver uses it: a connection for each request, and streams read as they come."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any

QUICK_SECONDS = 5.0
# In the folder of an instance: why its driver ended, for whoever watches it.
END_FILE = "driver.end"


class ApiError(Exception):
    """The server did not answer, or answered what cannot be understood."""


class RefusedError(Exception):
    """The server answered with another status than 200; the text is what it said."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class Api:
    """The API at `address` (`host:port`) of a server that does one kind of work: `predictions`, or `trainings`."""

    def __init__(self, address: str, work: str = "predictions") -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._work = work

    def health(self) -> dict[str, Any] | None:
        """What /health-check says; None while nothing listens yet."""
        try:
            return _object(self._json("GET", "/health-check"))
        except (ApiError, RefusedError):
            return None

    def schema(self) -> dict[str, Any] | None:
        """The OpenAPI document; None where there is none."""
        try:
            return _object(self._json("GET", "/openapi.json"))
        except (ApiError, RefusedError):
            return None

    def cancel(self, prediction: str) -> bool:
        """Ask that a prediction stops. False: the server knows no such one, maybe not yet. Raises ApiError."""
        try:
            self._json("POST", f"/{self._work}/{prediction}/cancel")
        except RefusedError:
            return False
        return True

    def shut_down(self) -> None:
        """Ask the server to end."""
        with contextlib.suppress(ApiError, RefusedError):
            self._json("POST", "/shutdown")

    def run(self, prediction: str, body: dict[str, Any]) -> dict[str, Any]:
        """Run a prediction to its end. Raises RefusedError, ApiError."""
        return _object(self._json("PUT", f"/{self._work}/{prediction}", body, seconds=None))

    def stream(self, prediction: str, body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """Run one and give its events as they come. Raises RefusedError, ApiError."""
        headers = {"Accept": "text/event-stream"}
        with self._asking("PUT", f"/{self._work}/{prediction}", body, None, headers) as answer:
            name = ""
            for line in answer:
                text = line.decode("utf-8", "replace").rstrip("\r\n")
                if text.startswith("event:"):
                    name = text.removeprefix("event:").strip()
                elif text.startswith("data:") and name:
                    yield name, json.loads(text.removeprefix("data:"))

    def _json(self, method: str, path: str, body: object = None, seconds: float | None = QUICK_SECONDS) -> Any:
        with self._asking(method, path, body, seconds, {}) as answer:
            return json.loads(answer.read() or b"{}")

    @contextlib.contextmanager
    def _asking(
        self, method: str, path: str, body: object, seconds: float | None, headers: dict[str, str]
    ) -> Iterator[HTTPResponse]:
        connection = HTTPConnection(self._host, self._port, timeout=seconds)
        try:
            sent = None if body is None else json.dumps(body).encode()
            connection.request(method, path, sent, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            if answer.status != 200:
                raise RefusedError(answer.status, said_by(answer.read()))
            yield answer
        except (HTTPException, OSError, ValueError) as error:
            raise ApiError(f"{method} {path}: {error or type(error).__name__}") from error
        finally:
            connection.close()


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ApiError(f"a JSON object was expected, not {type(value).__name__}")
    return value


def said_by(body: bytes) -> str:
    """The words of a refusal: Cog has JSON for some and plain text for others."""
    text = body.decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except ValueError:
        return text
    if isinstance(found, dict):
        detail = found.get("detail")
        if isinstance(detail, list):
            return "; ".join(f"{'.'.join(map(str, each.get('loc', [])[2:]))}: {each.get('msg')}" for each in detail)
        return str(found.get("error") or detail or text)
    return text
