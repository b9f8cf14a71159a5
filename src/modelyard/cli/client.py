"""The commands' way to a yard: where it is, who asks, and requests to its API, with the standard library only."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from modelyard import settings
from modelyard.errors import Forbidden, ModelyardError, NotFound, Unauthenticated, Unavailable, UsageError

LOGIN_FILE = "login.json"
DEFAULT_URL = "http://127.0.0.1:9273"
_TIMEOUT_SECONDS = 30.0
_SHOWN_BODY = 300
_NO_YARD = "start one with `yard up`, or say where it is: `yard login URL`, or MODELYARD_URL"
_LOG_IN = "log in with `yard login`, or set MODELYARD_TOKEN; the first `yard up` prints the token"


# Where a login that `yard login` keeps says it comes from.
STORED = "login"


class RefusedError(ModelyardError):
    """The yard answered, and said no."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A yard and who asks there. `token` is None when nobody logged in.

    `url_from`, `token_from`: the variable's name, or `login` for what is stored.
    """

    url: str
    token: str | None
    url_from: str = "default"
    token_from: str | None = None

    @property
    def required_token(self) -> str:
        """The token. Raises UsageError when there is none."""
        if self.token is None:
            raise UsageError(f"you are not logged in to {self.url}", hint=_LOG_IN)
        return self.token


def login_path(environ: Mapping[str, str]) -> Path:
    """The file that `yard login` writes."""
    return settings.config_home(environ) / LOGIN_FILE


def find_login(environ: Mapping[str, str]) -> Login:
    """`MODELYARD_URL` and `MODELYARD_TOKEN`, each else the stored login, else a yard on this machine without a token.

    A stored token is used only for the yard that it was stored for: MODELYARD_URL alone never sends it elsewhere.
    """
    stored = _stored(login_path(environ))
    url, url_from = DEFAULT_URL, "default"
    if environ.get("MODELYARD_URL"):
        url, url_from = _checked_url(environ["MODELYARD_URL"]), "MODELYARD_URL"
    elif stored:
        url, url_from = stored["url"], "login"
    token, token_from = None, None
    if environ.get("MODELYARD_TOKEN"):
        token, token_from = environ["MODELYARD_TOKEN"], "MODELYARD_TOKEN"
    elif stored and stored["url"] == url:
        token, token_from = stored["token"], STORED
    return Login(url=url, token=token, url_from=url_from, token_from=token_from)


def _stored(path: Path) -> dict[str, str] | None:
    try:
        found = json.loads(path.read_text("utf-8"))
        return {"url": str(found["url"]), "token": str(found["token"])}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"the stored login {path} cannot be read: {error}", hint="log in again: yard login") from None


def _checked_url(text: str) -> str:
    return str(settings.parse("public_url", text, "MODELYARD_URL"))


def call(login: Login, method: str, path: str, body: Any = None, *, timeout_seconds: float = _TIMEOUT_SECONDS) -> Any:
    """Send a request to the yard's API, with JSON both ways; gives the decoded reply, None for an empty one.

    Raises Unavailable when no yard answers, Unauthenticated, Forbidden, NotFound and RefusedError for what it says.
    """
    data = None if body is None else json.dumps(body).encode()
    headers = {"Accept": "application/json"}
    if data is not None:
        headers["Content-Type"] = "application/json"
    if login.token:
        headers["Authorization"] = f"Bearer {login.token}"
    status, payload = _send(login.url, method, path, data, headers=headers, timeout_seconds=timeout_seconds)
    if status >= 400:
        raise refusal(login, status, payload)
    return _decoded(login, payload) if payload else None


def _send(
    url: str, method: str, path: str, data: bytes | None, *, headers: dict[str, str], timeout_seconds: float
) -> tuple[int, bytes]:
    connection, prefix = connect(url, timeout_seconds)
    try:
        connection.request(method, prefix + path, data, headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        raise unreachable(url, error) from None
    finally:
        connection.close()


def connect(url: str, timeout_seconds: float = _TIMEOUT_SECONDS) -> tuple[http.client.HTTPConnection, str]:
    """A connection, not yet opened, to the host of `url`, and what paths there begin with."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        secure = ssl.create_default_context()
        return http.client.HTTPSConnection(host, parts.port, timeout=timeout_seconds, context=secure), parts.path
    return http.client.HTTPConnection(host, parts.port, timeout=timeout_seconds), parts.path


def unreachable(url: str, error: Exception) -> Unavailable:
    """The error for a yard that does not answer."""
    reason = "it took too long to answer" if isinstance(error, TimeoutError) else _reason(error)
    return Unavailable(f"no yard answers at {url}: {reason}", hint=_NO_YARD)


def _reason(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) else None
    return said or str(error) or type(error).__name__


def refusal(login: Login, status: int, payload: bytes) -> ModelyardError:
    """The error for a reply of 400 or more: what the yard's problem document says."""
    try:
        problem = json.loads(payload)
        said = str(problem.get("detail") or problem.get("title") or "")
        hint = problem.get("hint")
    except (ValueError, AttributeError):
        said, hint = payload[:_SHOWN_BODY].decode("utf-8", "replace").strip(), None
    said = said.strip() or f"status {status}"
    if status == 401:
        shown = "no token" if login.token is None else "the token"
        return Unauthenticated(f"{login.url} does not accept {shown}: {said}", hint=_LOG_IN)
    if status == 403:
        return Forbidden(said, hint=hint)
    if status == 404:
        return NotFound(said, hint=hint)
    if status in (502, 503, 504):
        return Unavailable(f"{login.url} is not ready: {said}", hint=hint or "try again in a moment")
    return RefusedError(said, hint=hint)


def _decoded(login: Login, payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except ValueError:
        raise Unavailable(f"what answers at {login.url} is no yard: its reply is not JSON", hint=_NO_YARD) from None
