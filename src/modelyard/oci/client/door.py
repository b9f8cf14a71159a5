"""The way into a registry: its address, who asks there, and what its refusals mean."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from modelyard import errors
from modelyard.errors import ModelyardError, Unavailable
from modelyard.oci.client import credentials, reference, tokens, web
from modelyard.oci.client.credentials import Access
from modelyard.oci.client.tokens import Wanted

# What a yard calls itself to who says nothing of who asks.
_OF_A_YARD = 'realm="modelyard'
_NO_YARD = (
    "where a yard is meant, start one with `yard up`, or say where it is: `yard login URL`, or MODELYARD_URL; a "
    "host in `model` of cog.yaml names it too"
)
# What a proxy answers while a yard behind it starts.
_NOT_READY = (502, 503, 504)
# What a registry does, and what that is for the one who asks.
_YOURS = (
    ("take what is sent", "push there"),
    ("take over ", "take over "),
    ("take ", "send "),
    ("give ", "read "),
    ("look for ", "see "),
)
# What asks for nothing but to be given something.
_READING = ("GET", "HEAD")


class RegistryError(ModelyardError):
    """The registry said no."""

    code = "registry_refused"
    title = "The registry refused"


class _Said(NamedTuple):
    """What is said of who asks. Of a token: what it was asked for, and when it is to be asked anew."""

    header: str
    wanted: Wanted | None = None
    until: float = 0.0


class Door:
    """The way into one registry: its address and who asks, which all connections to it share. `clock`: seconds that
    only grow; `told` hears why an attempt failed, before the next one."""

    def __init__(
        self,
        registry: str,
        find: credentials.Find,
        client: web.Client,
        *,
        clock: Callable[[], float] = time.monotonic,
        told: web.Told = lambda _: None,
    ) -> None:
        self.registry = registry
        self.told = told
        self._find = find
        self._clock = clock
        # Held while a token is asked for: who wants the same one at that moment waits for it.
        self._asking = threading.Lock()
        self._said: dict[str, _Said] = {}
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
        if self.is_yard and not isinstance(error, ssl.SSLCertVerificationError | web.CutOffError):
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
        except web.BROKEN as error:
            self.told(web.unreachable(secure, error))
            return secure  # it may answer in a moment; each request tries again

    def header(self, path: str, client: web.Client) -> dict[str, str]:
        """What is said of who asks, before anybody wants to know. A token that is at its end is asked anew."""
        said = self._said.get(path)
        if said is not None and said.wanted is not None and self._clock() >= said.until:
            said = self._renewed(path, said, client)
        if said is not None:
            return {"Authorization": said.header}
        token = "" if self._access is None else self._access.token
        return {"Authorization": f"Bearer {token}"} if token else {}

    def challenged(self, header: str, method: str, path: str, said: str | None, client: web.Client) -> bool:
        """Get what a registry wants that answered 401 with this header; False: there is no more to say.

        `said`: what the request that it refused had said of who asks.
        """
        self._is_called_yard = self._is_called_yard or _OF_A_YARD in header
        offered, access = tokens.challenges(header), self._access
        actions = "pull" if method in _READING else "pull,push"
        wanted = tokens.wanted(offered, self.url, f"repository:{path}:{actions}")
        by_name = access is not None and bool(access.username) and any(each.scheme == "basic" for each in offered)
        if wanted is not None and (wanted.realm or not by_name):
            return self._get(wanted, header, path, said, client)
        if access is None or not by_name:
            return False
        self._said[path] = _Said(access.basic)
        return access.basic != said

    def _get(self, wanted: Wanted, header: str, path: str, said: str | None, client: web.Client) -> bool:
        if not wanted.realm:
            raise RegistryError(
                f"{self.registry} wants a token, and does not say where it is had: WWW-Authenticate is"
                f" {header[:200]!r}; wanted: Bearer with a realm that is an address",
                hint=f"is {self.registry} the right name? Whoever runs it can say what it wants",
            )
        with self._asking:
            before = self._said.get(path)
            if before is not None and before.wanted is not None:
                scopes = before.wanted.scopes
                if before.header != said and tokens.covers(scopes, wanted.scopes):
                    return True  # another thread was told the same, and has it by now
                # One token for all that is done there: a look in the middle of a push must not end its right to push.
                if before.wanted[:2] == wanted[:2]:
                    wanted = wanted._replace(scopes=tokens.joined(scopes, wanted.scopes))
            found = self._said[path] = self._token(wanted, client)
        return found.header != said

    def _renewed(self, path: str, said: _Said, client: web.Client) -> _Said:
        with self._asking:
            now = self._said.get(path, said)
            if now is not said or said.wanted is None:
                return now
            try:
                now = self._said[path] = self._token(said.wanted, client)
            except (ModelyardError, *web.BROKEN):
                pass  # it may still be good; where it is not, the registry's own refusal leads here again
            return now

    def _token(self, wanted: Wanted, client: web.Client) -> _Said:
        self._check(wanted.realm)
        host = urlsplit(wanted.realm).netloc
        try:
            with tokens.ask(wanted, self._access, client) as reply:
                payload = reply.read()
        except web.BROKEN as error:
            raise Unavailable(
                f"{host}, where {self.registry} sends to for a token, does not answer: {web.reason(error)}",
                hint="try again in a moment",
            ) from None
        self._check(reply.url)
        if reply.status in web.REDIRECTS:
            raise RegistryError(
                f"{host}, where {self.registry} sends to for a token, leads to {reply.headers.get('location', '')!r};"
                " what `docker login` keeps is not sent on",
                hint=self._log_in(),
            )
        if reply.status != 200:
            doing = "get a token" if self.is_own(wanted.realm) else f"get a token at {host}"
            raise self.refusal(reply.status, payload, doing, retry_after=reply.headers.get("retry-after", ""))
        given = tokens.parse(payload)
        if given is None:
            raise RegistryError(
                f"{wanted.realm}, where {self.registry} sends to for a token, answers with no token:"
                f" {payload[:100].decode('utf-8', 'replace')!r}; wanted: JSON with `token` or `access_token`",
                hint="try again in a moment; if it stays so, whoever runs it can say why",
            )
        if given.identity_token and self._access is not None and self._access.identity_token:
            self._access = self._access._replace(identity_token=given.identity_token)
        return _Said(f"Bearer {given.token}", wanted, self._clock() + given.seconds)

    def _check(self, realm: str) -> None:
        """No token comes over plain HTTP for a registry that is secured; beyond this machine no password goes so."""
        if realm.startswith("https:"):
            return
        if self.url.startswith("https:"):
            raise RegistryError(
                f"{self.registry} sends to {realm!r} for a token, which is not secured as it is itself",
                hint="whoever runs it has to name a realm with https://",
            )
        who = self._access
        if who is not None and (who.username or who.identity_token) and not reference.is_local(urlsplit(realm).netloc):
            raise RegistryError(
                f"{self.registry} sends to {realm!r} for a token; that is plain HTTP beyond this machine, and no"
                " password is sent so",
                hint="whoever runs it has to name a realm with https://",
            )

    def refusal(self, status: int, payload: bytes, doing: str, *, retry_after: str = "") -> ModelyardError:
        """The error for what the registry said."""
        said, hint, code = _said(payload)
        shaped = code is not None
        if payload and not shaped and self.is_yard and status not in (401, *_NOT_READY):
            return RegistryError(f"what answers at {self.url} is no registry: status {status}")
        why = f": {said}" if said else ""
        if status == 401 and self.is_yard:
            return errors.Unauthenticated(
                f"{self.url} does not accept the token to {_yours(doing)}{why}", hint=self._log_in()
            )
        if status == 401:
            shown = "wants you to log in" if self._access is None else "does not accept your login"
            return errors.Unauthenticated(f"{self.registry} {shown} to {_yours(doing)}{why}", hint=self._log_in())
        # A yard says in whole sentences what it does not take.
        plain = said if said and shaped and self.is_yard else ""
        if status == 403:
            # Some say so to whoever says nothing of who it is, too.
            hint = hint or (None if self.is_yard else self._log_in() if self._access is None else self._as_another())
            return errors.Forbidden(plain or f"{self.registry} does not let you {_yours(doing)}{why}", hint=hint)
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

    def too_little(self, payload: bytes, doing: str) -> ModelyardError:
        """The error where the registry gave a token, and that is not enough for this."""
        if self._access is None:
            return self.refusal(401, payload, doing)
        said = _said(payload)[0]
        why = f": {said}" if said else ""
        return errors.Forbidden(
            f"{self.registry} does not let you {_yours(doing)} with your login{why}", hint=self._as_another()
        )

    def _as_another(self) -> str:
        return f"who may, has to log in: {self._log_in()}"

    def _log_in(self) -> str:
        if not self._may_say_who:
            return "it speaks plain HTTP, and no password is sent so; give it a certificate"
        if self.is_yard or self._is_called_yard:
            return f"`yard login {self.url}`, or `docker login {self.registry}`"
        return f"`docker login {self.registry}`; where it is a yard: `yard login {self.url}`"


def _yours(doing: str) -> str:
    return next((mine + doing.removeprefix(its) for its, mine in _YOURS if doing.startswith(its)), doing)


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
