"""Which names the yard answers to, and what a cookie may do."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard import errors, rest
from modelyard.auth import SESSION
from modelyard.web.gate import Gate, Hosts, Misdirected

COOKIE = "yard_1"


def hosts(public: str | None = None) -> Hosts:
    return Hosts(["Mill.lan", "", "other."], public)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:9273",
        "mill.lan",
        "mill.lan.",
        "other:80",
        "a.localhost:1",
        "127.0.0.1:1",
        "10.1.2.3",
        "[::1]:9273",
        "[fe80::1]",
    ],
)
def test_our_own_names_and_bare_addresses_are_answered(host: str) -> None:
    hosts().check(host.encode())


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example:80", "", "mill.lan.evil.example", "127.0.0.1.nip.example", "[x]", "é"],
)
def test_other_names_are_not(host: str) -> None:
    with pytest.raises(Misdirected) as refused:
        hosts().check(host.encode())
    assert refused.value.status == 421
    assert "--allowed-hosts" in (refused.value.hint or "")


def test_the_public_name_is_ours() -> None:
    hosts("https://models.example/").check(b"models.example")
    with pytest.raises(Misdirected):
        hosts().check(b"models.example")


def scope(method: str = "POST", **headers: str) -> rest.Scope:
    made = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http", "method": method, "headers": made}


def entered(made: rest.Scope, public: str | None = None) -> bytes:
    Gate(hosts(public), COOKIE).enter(made)
    return rest.header(made, b"authorization")


MINE: dict[str, Any] = {"cookie": f"a=b; {COOKIE}=ticket", "host": "localhost:1"}


def test_a_cookie_becomes_who_asks() -> None:
    assert entered(scope("GET", **MINE)) == SESSION + b"ticket"
    assert entered(scope("POST", **MINE, origin="http://localhost:1")) == SESSION + b"ticket"


def test_a_proxy_that_speaks_tls_changes_the_scheme_alone() -> None:
    assert entered(scope("POST", **MINE, origin="https://localhost:1")) == SESSION + b"ticket"
    behind = {**MINE, "host": "127.0.0.1:9273", "origin": "https://models.example"}
    assert entered(scope("POST", **behind), "https://models.example/") == SESSION + b"ticket"


@pytest.mark.parametrize(
    "origin",
    ["", "null", "http://evil.example", "http://localhost:2", "http://localhost:1.evil.example", "localhost:1"],
)
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "QUERY", "PUT"])
def test_a_page_of_another_site_changes_nothing(origin: str, method: str) -> None:
    with pytest.raises(errors.Forbidden):
        entered(scope(method, **MINE, origin=origin))


def test_a_request_without_host_or_origin_changes_nothing() -> None:
    with pytest.raises((errors.Forbidden, Misdirected)):
        entered(scope("POST", cookie=MINE["cookie"]))


def test_a_token_wins_over_a_cookie_and_needs_no_origin() -> None:
    assert entered(scope("POST", **MINE, authorization="Bearer r8_x")) == b"Bearer r8_x"


def test_a_cookie_of_another_yard_says_nothing() -> None:
    assert entered(scope("POST", cookie="yard_2=ticket", host="evil.example")) == b""
    assert entered(scope("GET", host="localhost")) == b""


def test_an_odd_cookie_is_no_trouble() -> None:
    for odd in (f"{COOKIE}=", f"{COOKIE}", ";;;=", f'{COOKIE}="\\"'):
        entered(scope("GET", cookie=odd, host="localhost"))
