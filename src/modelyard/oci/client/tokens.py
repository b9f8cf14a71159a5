"""Tokens for a registry: what it wants of who asks (`WWW-Authenticate`), and what is given out elsewhere for it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from modelyard.oci.client import web
from modelyard.oci.client.credentials import Access
from modelyard.oci.client.web import Reply

# As the protocol has it for an answer that does not say how long its token is good.
_SECONDS = 60.0
_MOST_SECONDS = 86400.0
# Asked anew so long before its end, since a request takes time too; of a short one, a part.
_BEFORE_SECONDS = 10.0
# A challenge is a line; more of it comes from nobody who means well.
_MOST_TEXT = 8192
_GAP = re.compile(r"[\s,]*+")
_ITEM = re.compile(r'([\w!#$%&\'*+.^`|~-]++)(?:\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s,"]++)))?')
_TOKEN = re.compile(r"[\x21-\x7e]+")

# Which actions are wanted of what, such as `pull` and `push` of `repository:me/model`.
Scopes = Mapping[str, frozenset[str]]


class Challenge(NamedTuple):
    """One way in: `bearer`, `basic`, with its parameters."""

    scheme: str
    params: Mapping[str, str]


class Wanted(NamedTuple):
    """Where a token is had, for which service, and what it is to let one do."""

    realm: str
    service: str
    scopes: Scopes


class Given(NamedTuple):
    """A token, for how many seconds it is to be used, and by what the next one is had, if that is said."""

    token: str
    seconds: float
    identity_token: str


def challenges(header: str) -> list[Challenge]:
    """All that the header offers, as it names them. What cannot be read is passed over."""
    found: list[tuple[str, dict[str, str]]] = []
    text, position = header[:_MOST_TEXT], 0
    while (position := _end_of_gap(text, position)) < len(text):
        item = _ITEM.match(text, position)
        position = position + 1 if item is None else item.end()
        if item is None:
            continue
        name, quoted, plain = item.groups()
        if quoted is None and plain is None:
            found.append((name.lower(), {}))
        elif found:
            said = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            found[-1][1].setdefault(name.lower(), said)
    return [Challenge(scheme, params) for scheme, params in found]


def _end_of_gap(text: str, position: int) -> int:
    gap = _GAP.match(text, position)
    return position if gap is None else gap.end()


def wanted(offered: Sequence[Challenge], url: str, scope: str) -> Wanted | None:
    """The token that the registry at `url` wants; None where it wants none. `scope`: what it is for where it does not
    say that itself. The realm is empty where it names none."""
    bearers = [each.params for each in offered if each.scheme == "bearer"]
    if not bearers:
        return None
    realm, service = bearers[0].get("realm", ""), bearers[0].get("service", "")
    # Several scopes stand in one challenge, or each in one of its own.
    same = [each for each in bearers if (each.get("realm", ""), each.get("service", "")) == (realm, service)]
    scopes = parse_scopes(" ".join(each.get("scope", "") for each in same)) or parse_scopes(scope)
    return Wanted(web.address(url, realm) if realm else "", service, scopes)


def is_short(header: str) -> bool:
    """Does a registry say that the token is good, and does not let one do this?"""
    return any(each.params.get("error") == "insufficient_scope" for each in challenges(header))


def parse_scopes(text: str) -> Scopes:
    """`repository:NAME:pull,push` and others, with spaces between them; what is named twice is joined."""
    found: dict[str, frozenset[str]] = {}
    for each in text.split():
        of, colon, actions = each.rpartition(":")
        name, more = (of, frozenset(actions.split(",")) - {""}) if colon else (each, frozenset[str]())
        found[name] = found.get(name, frozenset()) | more
    return found


def joined(first: Scopes, second: Scopes) -> Scopes:
    """What either lets one do."""
    return {of: first.get(of, frozenset()) | second.get(of, frozenset()) for of in [*first, *second]}


def covers(these: Scopes, others: Scopes) -> bool:
    """Do these let one do all that the others do?"""
    return all(of in these and actions <= these[of] for of, actions in others.items())


def ask(what: Wanted, access: Access | None, client: web.Client) -> Reply:
    """Ask at the realm as who one is: by an identity token, by name and password, or as nobody."""
    scopes = [f"{of}:{','.join(sorted(actions))}" if actions else of for of, actions in what.scopes.items()]
    service = {"service": what.service} if what.service else {}
    if access is not None and access.identity_token:
        form = {
            **service,
            "scope": " ".join(scopes),
            "grant_type": "refresh_token",
            "refresh_token": access.identity_token,
            "client_id": "modelyard",
        }
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return client.open("POST", what.realm, kind, urlencode(form).encode())
    headers = {"Authorization": access.basic} if access is not None and access.username else {}
    # Each scope is a parameter of its own here, and one of them all in a form: the protocol has it so.
    query = urlencode([*service.items(), *(("scope", each) for each in scopes)])
    where = what.realm.partition("#")[0]
    return client.open("GET", f"{where}{'&' if '?' in where else '?'}{query}", headers)


def parse(payload: bytes) -> Given | None:
    """What the answer gives; None where that is no token."""
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    token = found.get("token") or found.get("access_token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        return None
    told, identity = found.get("expires_in"), found.get("refresh_token")
    seconds = _SECONDS
    if isinstance(told, int | float) and not isinstance(told, bool) and 0 < told < _MOST_SECONDS:
        seconds = float(told)
    return Given(token, seconds - min(_BEFORE_SECONDS, seconds / 4), identity if isinstance(identity, str) else "")
