"""The way into a registry: its address, who asks there, and what its refusals mean."""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Mapping
from urllib.parse import urlencode, urljoin, urlsplit

from modelyard import errors
from modelyard.errors import ModelyardError, Unavailable
from modelyard.oci.client import credentials, reference, web
from modelyard.oci.client.credentials import Access

# What a yard calls itself to who says nothing of who asks.
_OF_A_YARD = 'realm="modelyard'
_NO_YARD = (
    "where a yard is meant, start one with `yard up`, or say where it is: `yard login URL`, or MODELYARD_URL; a "
    "host in `model` of cog.yaml names it too"
)
# What a proxy answers while a yard behind it starts.
_NOT_READY = (502, 503, 504)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class RegistryError(ModelyardError):
    """The registry said no."""

    code = "registry_refused"
    title = "The registry refused"


class Door:
    """The way into one registry: its address and who asks, which all connections to it share."""

    def __init__(self, registry: str, find: credentials.Find, client: web.Client) -> None:
        self.registry = registry
        self._find = find
        self._guard = threading.Lock()
        self._tokens: dict[str, str] = {}
        self._access: Access | None = None
        self._may_say_who = True
        self._is_called_yard = False
        self.url = self._address(client)

    @property
    def is_yard(self) -> bool:
        """Is it known beforehand where it is, and by which token?"""
        return self._access is not None and bool(self._access.url)

    def is_own(self, url: str) -> bool:
        """Is this an address of the registry itself, and none that it sends to?"""
        return urlsplit(url).netloc == urlsplit(self.url).netloc

    def unreachable(self, error: BaseException) -> Unavailable:
        """The error where nobody answers."""
        hint = _NO_YARD if self.is_yard or reference.is_local(self.registry) else ""
        if self.is_yard and not isinstance(error, ssl.SSLCertVerificationError):
            return Unavailable(f"no yard answers at {self.url}: {web.reason(error)}", hint=hint)
        return web.unreachable(self.url, error, hint)

    def _address(self, client: web.Client) -> str:
        self._access = self._find(self.registry)
        if self._access is not None and self._access.url:
            return self._access.url
        return f"http://{self.registry}" if reference.is_local(self.registry) else self._tried(client)

    def _tried(self, client: web.Client) -> str:
        """HTTPS; plain HTTP where only that is spoken, and then nobody's name and password are sent."""
        secure = f"https://{self.registry}"
        try:
            with client.open("GET", f"{secure}/v2/"):
                return secure
        except ssl.SSLCertVerificationError as error:
            raise web.unreachable(secure, error) from None
        except ssl.SSLError:
            self._access, self._may_say_who = None, False
            return f"http://{self.registry}"
        except web.BROKEN:
            return secure  # it may answer in a moment; each request tries again

    def header(self, path: str) -> dict[str, str]:
        """What is said of who asks, before anybody wants to know."""
        with self._guard:
            said = self._tokens.get(path)
        if said is None and self._access is not None and self._access.token:
            said = f"Bearer {self._access.token}"
        return {} if said is None else {"Authorization": said}

    def challenged(self, header: str, path: str, said: str | None, client: web.Client) -> bool:
        """Get what a registry wants that answered 401 with this header; False: there is no more to say.

        `said`: what the request that it refused had said of who asks.
        """
        scheme, _, rest = header.partition(" ")
        self._is_called_yard = self._is_called_yard or _OF_A_YARD in header
        access = self._access
        if self.header(path).get("Authorization") != said:
            return True  # another thread was told the same, and has it by now
        if scheme.lower() == "bearer":
            found = self._token(dict(_PARAMETER.findall(rest)), f"repository:{path}:pull,push", client)
        elif scheme.lower() == "basic" and access is not None and access.username:
            found = access.basic
        else:
            return False
        with self._guard:
            self._tokens[path] = found
        return found != said

    def _token(self, wanted: Mapping[str, str], scope: str, client: web.Client) -> str:
        realm = urljoin(self.url, wanted.get("realm", ""))
        if self.url.startswith("https:") and not realm.startswith("https:"):
            raise RegistryError(f"{self.registry} sends to {realm!r} for a token, which is not secured as it is itself")
        asked = {"service": wanted.get("service", ""), "scope": wanted.get("scope") or scope}
        access = self._access
        if access is not None and access.identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": access.identity_token, "client_id": "modelyard"}
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            reply = client.open("POST", realm, headers, urlencode({**asked, **form}).encode())
        else:
            headers = {"Authorization": access.basic} if access is not None and access.username else {}
            reply = client.open("GET", f"{realm}{'&' if '?' in realm else '?'}{urlencode(asked)}", headers)
        with reply:
            payload = reply.read()
        if reply.status != 200:
            raise self.refusal(reply.status, payload, "get a token")
        try:
            found = json.loads(payload)
            token = found.get("token") or found["access_token"]
        except (ValueError, KeyError, AttributeError):
            raise RegistryError(f"{realm} answers with no token") from None
        return f"Bearer {token}"

    def refusal(self, status: int, payload: bytes, doing: str, *, retry_after: str = "") -> ModelyardError:
        """The error for what the registry said."""
        said, hint, code = _said(payload)
        shaped = code is not None
        if payload and not shaped and self.is_yard and status not in (401, *_NOT_READY):
            return RegistryError(f"what answers at {self.url} is no registry: status {status}")
        why = f": {said}" if said else ""
        if status == 401 and self.is_yard:
            return errors.Unauthenticated(f"{self.url} does not accept the token to {doing}{why}", hint=self._log_in())
        if status == 401:
            shown = "wants you to log in" if self._access is None else "does not accept your login"
            return errors.Unauthenticated(f"{self.registry} {shown} to {doing}{why}", hint=self._log_in())
        # A yard says in whole sentences what it does not take.
        plain = said if said and shaped and self.is_yard else ""
        if status == 403:
            return errors.Forbidden(plain or f"{self.registry} does not let you {doing}{why}", hint=hint)
        if status == 404:
            # Of a whole repository a yard says who may use which.
            whole = plain if code == "NAME_UNKNOWN" else ""
            return errors.NotFound(whole or f"{self.registry} cannot {doing}, it is not there{why}", hint=hint)
        if status == 429:
            seconds = int(retry_after) if retry_after.isdecimal() else 1
            return errors.TooMany(f"{self.registry} is asked too often{why}", max(1, seconds), hint="try again later")
        if status >= 500:
            return Unavailable(f"{self.registry} could not {doing}, status {status}{why}", hint="try again in a moment")
        return RegistryError(plain or f"{self.registry} does not {doing}, status {status}{why}", hint=hint)

    def _log_in(self) -> str:
        if not self._may_say_who:
            return "it speaks plain HTTP, and no password is sent so; give it a certificate"
        if self.is_yard or self._is_called_yard:
            return f"`yard login {self.url}`, or `docker login {self.registry}`"
        return f"`docker login {self.registry}`; where it is a yard: `yard login {self.url}`"


def _said(payload: bytes) -> tuple[str, str | None, str | None]:
    """The first message of a registry's errors, the hint of a yard's, and the code; that is None where it is not in the
    shape that registries have."""
    try:
        first = json.loads(payload)["errors"][0]
        said, detail = str(first.get("message") or first.get("code") or ""), first.get("detail")
    except (ValueError, LookupError, TypeError, AttributeError):
        return payload[:200].decode("utf-8", "replace").strip(), None, None
    hint = detail.get("hint") if isinstance(detail, dict) else None
    return said, hint if isinstance(hint, str) and hint not in said else None, str(first.get("code") or "")
