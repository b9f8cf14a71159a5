"""The commands' way to a yard: where it is, who asks, and requests to its API, with the standard library only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from modelyard import settings
from modelyard.cli import wire
from modelyard.errors import Forbidden, ModelyardError, NotFound, Unauthenticated, Unavailable, UsageError

LOGIN_FILE = "login.json"
DEFAULT_URL = "http://127.0.0.1:9273"
# Where Cog pushes to unless a name says otherwise. The yard that one is logged in to takes its place.
REPLICATE = "r8.im"
_TIMEOUT_SECONDS = 30.0
_SHOWN_BODY = 300
_NO_YARD = "start one with `yard up`, or say where it is: `yard login URL`, or MODELYARD_URL"
_MAYBE_TLS = f"{_NO_YARD}; one that speaks TLS has an address that begins with https://"
_TRUST = "for a certificate of your own: SSL_CERT_FILE=FILE names the file of the authority that signed it"
_LOG_IN = "log in with `yard login`, or set MODELYARD_TOKEN; the first `yard up` prints the token"


# Where a login that `yard login` keeps says it comes from.
STORED = "login"


class RefusedError(ModelyardError):
    """The yard answered, and said no."""


class Login(NamedTuple):
    """A yard and who asks there. `token` is None when nobody logged in.

    `url_from`, `token_from`: the variable's name, or `login` for what is stored.
    """

    url: str
    token: str | None
    url_from: str = "default"
    token_from: str | None = None

    @property
    def required_token(self) -> str:
        """The token. Raises UsageError when there is none, or what cannot stand in a header."""
        if self.token is None:
            raise UsageError(f"you are not logged in to {self.url}", hint=_LOG_IN)
        if not (self.token.isascii() and self.token.isprintable()):
            raise UsageError("the token holds characters that no token has", hint=_LOG_IN)
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


def required_login(environ: Mapping[str, str]) -> Login:
    """The same, with a token. Raises UsageError when there is none."""
    login = find_login(environ)
    login.required_token  # noqa: B018 - says how to log in
    return login


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
    try:
        with _send(login, method, path, data, headers, timeout_seconds) as reply:
            payload = reply.read()
    except (OSError, wire.WireError) as error:
        raise unreachable(login.url, error) from None
    if reply.status >= 400:
        raise refusal(login, reply.status, payload)
    return _decoded(login, payload) if payload else None


def open_reply(
    login: Login, path: str, *, accept: str, after: str = "", timeout_seconds: float, method: str = "GET"
) -> wire.Reply:
    """An answer that is to be read as it comes; `after`: the last event seen. Raises as `call` does."""
    headers = {"Accept": accept, **({"Last-Event-ID": after} if after else {})}
    try:
        reply = _send(login, method, path, None, headers, timeout_seconds)
        if reply.status < 400:
            return reply
        with reply:
            raise refusal(login, reply.status, reply.read())
    except (OSError, wire.WireError) as error:
        raise unreachable(login.url, error) from None


def pages(login: Login, path: str, most: int) -> Iterator[dict[str, Any]]:
    """The results of a list, page after page, at most so many."""
    left = most
    while left > 0:
        page = call(login, "GET", path)
        yield from page["results"][:left]
        left -= len(page["results"])
        if not page.get("next"):
            return
        # Its host is what the yard calls itself; we know it by the login's.
        parts = urlsplit(page["next"])
        path = "/v1/" + parts.path.partition("/v1/")[2] + (f"?{parts.query}" if parts.query else "")


def _send(
    login: Login, method: str, path: str, data: bytes | None, headers: dict[str, str], timeout_seconds: float
) -> wire.Reply:
    if login.token:
        headers["Authorization"] = f"Bearer {login.required_token}"
    return wire.send(login.url, method, path, data=data, headers=headers, timeout_seconds=timeout_seconds)


def unreachable(url: str, error: Exception) -> Unavailable:
    """The error for a yard that does not answer."""
    reason = "it took too long to answer" if isinstance(error, TimeoutError) else _reason(error)
    # By its name: loading the module that has it costs more than a command of every day.
    if type(error).__name__ == "SSLCertVerificationError":
        why = getattr(error, "verify_message", "") or reason
        return Unavailable(f"the certificate of {url} is not trusted here: {why}", hint=_TRUST)
    spoken_plainly = isinstance(error, wire.WireError | ConnectionError) and url.startswith("http://")
    return Unavailable(f"no yard answers at {url}: {reason}", hint=_MAYBE_TLS if spoken_plainly else _NO_YARD)


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
