"""Who is let through from a browser: the names that the yard answers to, and what a cookie may do.

A token is sent by a program that means to; a cookie is sent by a browser because some page made it. So a cookie counts
only where the request names this yard (`Host`: a foreign name that resolves to our address is somebody's trick, DNS
rebinding) and, to change anything, where it comes from a page of ours (`Origin`, RFC 6454). What passes goes on with
the session where a token would stand, and no other room knows of cookies.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.requests import cookie_parser

from modelyard import errors, rest
from modelyard.auth import SESSION

SAFE = ("GET", "HEAD", "OPTIONS")


class Misdirected(errors.ModelyardError):
    """The request names another host than ours (RFC 9110, 15.5.20)."""

    status = 421
    code = "misdirected"
    title = "This yard does not answer to that name"


class Hosts:
    """The names that the yard answers to: addresses, this machine's own names, and those that it was told."""

    def __init__(self, names: Iterable[str], public_url: str | None) -> None:
        self._names = {"localhost", *(name.lower().rstrip(".") for name in names if name)}
        self._public = public_url.rstrip("/").lower() if public_url else None
        if public_url:
            self._names.add((urlsplit(public_url).hostname or "").lower())

    def check(self, host: bytes) -> None:
        """Raises Misdirected. A bare address is always ours: no name stands for it, so none was rebound."""
        name = _name(host)
        if name in self._names or name.endswith(".localhost") or _is_address(name):
            return
        raise Misdirected(
            f"The request names the host {name[:100]!r}, and this yard does not answer to it.",
            hint=f"If that is a name of this machine, start the yard with --allowed-hosts {name[:100]}.",
        )

    def same_origin(self, origin: bytes, host: bytes) -> bool:
        """Does a page from `origin` come from this yard, which the request calls `host`?"""
        text = origin.decode("latin-1").lower()
        # A proxy that speaks TLS for us changes the scheme, and nothing else, between the page and the request.
        return bool(host) and (text.partition("://")[2] == host.decode("latin-1").lower() or text == self._public)


def _name(host: bytes) -> str:
    text = host.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    name, colon, port = text.rpartition(":")
    return (name if colon and port.isdigit() else text).rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Gate:
    """Turns the cookie of a signed-in browser into who asks. `cookie`: its name, which no other yard here has."""

    def __init__(self, hosts: Hosts, cookie: str) -> None:
        self.hosts = hosts
        self.cookie = cookie

    def enter(self, scope: rest.Scope) -> None:
        """Put the session into `scope` as its authorization. Raises Misdirected, Forbidden."""
        for key, _ in scope["headers"]:
            if key == b"cookie":
                self._enter(scope)
                return

    def _enter(self, scope: rest.Scope) -> None:
        value = self.session(scope)
        if value is None or rest.header(scope, b"authorization"):
            return
        host = rest.header(scope, b"host")
        self.hosts.check(host)
        if scope["method"] not in SAFE:
            self.check_origin(scope)
        scope["headers"] = [*scope["headers"], (b"authorization", SESSION + value)]

    def check_origin(self, scope: rest.Scope) -> None:
        """Raises Forbidden unless the request comes from a page of this yard."""
        origin = rest.header(scope, b"origin")
        if not self.hosts.same_origin(origin, rest.header(scope, b"host")):
            shown = origin.decode("latin-1")[:100] or "no page that says where it is from"
            raise errors.Forbidden(
                f"Only pages of this yard may change things for a signed-in browser; this came from {shown}.",
                hint="Programs send a token: `Authorization: Bearer r8_…`.",
            )

    def session(self, scope: rest.Scope) -> bytes | None:
        """The session in the request's cookies."""
        for key, value in scope["headers"]:
            if key == b"cookie":
                found = cookie_parser(value.decode("latin-1")).get(self.cookie)
                if found:
                    return found.encode("latin-1", "replace")
        return None
