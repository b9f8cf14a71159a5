"""What gives out tokens for a registry, beside Docker's own program that wants them: JSON Web Tokens, really signed."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import certificates
import foreign_registry
from certificates import Pair
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from weights_servers import serving

SERVICE, ISSUER = "a registry", "who says so"
IDENTITY = "identity-1"
# The registry takes a token for so long after its end.
_LEEWAY_SECONDS = 60
_AUTH = """\
auth:
  token: {{realm: "{realm}", service: "{service}", issuer: "{issuer}", rootcertbundle: {pair.chain}}}
"""


@dataclass
class Asked:
    """One request for a token: as whom, and for what."""

    method: str
    said: str
    scopes: list[str]
    service: list[str]
    form: dict[str, list[str]]


@dataclass
class Tokens:
    """`me` with `secret` (or with an identity token) does all in `me/…`; everybody pulls from `public/…`. What nobody
    may do is left out of the token, as Docker's own service does it.

    `lasts`: how many seconds the registry takes a token; `says`: more in the answer; `key`: what the token is called;
    `away`: is it not well?
    """

    pair: Pair
    lasts: float = 300.0
    key: str = "token"
    says: dict[str, Any] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    given: list[str] = field(default_factory=list)
    identity: str = IDENTITY
    away: bool = False

    def __call__(self, handler: Any) -> None:
        form = parse_qs(handler.body().decode())
        query = form if handler.command == "POST" else parse_qs(urlsplit(handler.path).query)
        said = handler.headers.get("Authorization", "")
        scopes = query.get("scope", [])
        self.asked.append(Asked(handler.command, said, scopes, query.get("service", []), form))
        who = self._who(said, form)
        if self.away:
            handler.answer(503)
            return
        if who is None:
            handler.answer(401, b'{"details":"incorrect username or password"}')
            return
        # A form has one scope with spaces, a query one of each.
        wanted = scopes[0].split() if handler.command == "POST" and scopes else scopes
        token = self._signed(who, [found for each in wanted if (found := _granted(who, each))])
        self.given.append(token)
        handler.answer(200, json.dumps({self.key: token, **self.says}).encode())

    def _who(self, said: str, form: dict[str, list[str]]) -> str | None:
        if form:
            right = form.get("grant_type") == ["refresh_token"] and form.get("refresh_token") == [self.identity]
            return "me" if right and form.get("client_id") else None
        if not said:
            return ""
        return "me" if said == "Basic " + base64.b64encode(b"me:secret").decode() else None

    def _signed(self, who: str, access: list[dict[str, Any]]) -> str:
        now = time.time()
        claims = {
            "iss": ISSUER,
            "sub": who,
            "aud": SERVICE,
            "exp": int(now + self.lasts) - _LEEWAY_SECONDS,
            "nbf": int(now) - 600,
            "iat": int(now),
            "jti": str(len(self.given)),
            "access": access,
        }
        chain = ssl.PEM_cert_to_DER_cert(self.pair.chain.read_text())
        head = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(chain).decode()]}
        text = ".".join(_encoded(json.dumps(each).encode()) for each in (head, claims))
        key = load_pem_private_key(self.pair.key.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        numbers = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{_encoded(b''.join(each.to_bytes(32, 'big') for each in numbers))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _granted(who: str, scope: str) -> dict[str, Any] | None:
    kind, name, actions = scope.split(":")
    own = {"pull", "push"} if who and name.startswith(f"{who}/") else set[str]()
    may = own | ({"pull"} if name.startswith("public/") else set())
    granted = [each for each in actions.split(",") if each in may]
    return {"type": kind, "name": name, "actions": granted} if granted else None


@dataclass
class Registry:
    """Docker's registry, at `host`, and what gives out its tokens."""

    host: str
    tokens: Tokens
    folder: Path

    @property
    def log(self) -> str:
        """What it wrote of what was asked of it."""
        return (self.folder / "log.txt").read_text()

    def publish(self, name: str) -> None:
        """Let `me/NAME` be `public/NAME`, where nobody may push."""
        repositories = self.folder / "blobs" / "docker" / "registry" / "v2" / "repositories"
        (repositories / "public").mkdir(exist_ok=True)
        (repositories / "me" / name).rename(repositories / "public" / name)


@contextlib.contextmanager
def up(folder: Path) -> Iterator[Registry]:
    """A registry that wants a token for everything."""
    pair = certificates.make(folder)
    tokens = Tokens(pair)
    with (
        serving(tokens) as url,
        foreign_registry.up(folder, auth=auth(pair, f"{url}/token")) as host,
    ):
        yield Registry(host, tokens, folder)


def auth(pair: Pair, realm: str) -> str:
    """The part of the registry's configuration that wants tokens of this realm."""
    return _AUTH.format(realm=realm, service=SERVICE, issuer=ISSUER, pair=pair)
