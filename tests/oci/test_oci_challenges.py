"""Registries whose wish for a token is written oddly, and services of tokens that fail, lie or lead elsewhere."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certificates
import pytest
from weights_servers import serving

from modelyard import errors
from modelyard.oci import manifest as oci
from modelyard.oci.client.credentials import Access
from modelyard.oci.client.door import Door, RegistryError
from modelyard.oci.client.remote import Repository
from modelyard.oci.client.web import Client

ME = Access("me", "secret")
IDENTITY = Access(identity_token="identity")


@dataclass
class Odd:
    """A registry that says nothing but a challenge, unless the right token comes."""

    challenge: tuple[str, ...]
    asked: list[str]

    def __call__(self, handler: Any) -> None:
        said = handler.headers.get("Authorization", "")
        handler.body()
        if said:
            self.asked.append(said)
        if said in ("Bearer right", ME.basic):
            handler.answer(404)
            return
        handler.send_response(401)
        for each in self.challenge:
            handler.send_header("WWW-Authenticate", each)
        handler.send_header("Content-Length", "0")
        handler.end_headers()


def repository(url: str, access: Access | None = ME) -> Repository:
    """As whom one is there."""
    door = Door(url.partition("://")[2], lambda _: access, Client())
    return Repository(door, "o/m", wait=lambda _: None, attempts=2)


@contextlib.contextmanager
def wanting(*challenge: str) -> Iterator[tuple[str, Odd]]:
    """A registry that offers this, and its address."""
    registry = Odd(challenge, [])
    with serving(registry) as url:
        yield url, registry


def refusal_of(url: str, access: Access | None = ME) -> errors.ModelyardError:
    """How it ends there."""
    with repository(url, access) as there, pytest.raises(errors.ModelyardError) as refusal:
        there.has(oci.digest_of(b""))
    return refusal.value


def has_nothing(url: str, access: Access | None = ME) -> bool:
    """One gets in, and there is nothing."""
    with repository(url, access) as there:
        return not there.has(oci.digest_of(b""))


def gives(handler: Any) -> None:
    handler.answer(200, b'{"token":"right"}')


BEARER = 'Bearer realm="{realm}",service="s",scope="repository:o/m:pull"'


@pytest.mark.parametrize(
    "offered",
    [
        (BEARER,),
        (f'Basic realm="r", {BEARER}',),
        (f'{BEARER}, Basic realm="r"',),
        (BEARER, 'Basic realm="r"'),
        ("Negotiate abc==, NTLM", BEARER),
        ('bearer  REALM = "{realm}" , Service="s, with \\"quotes\\"",error="invalid_token"',),
        ("Bearer realm={realm},service=s",),
        ('Bearer service="s",scope="a:b:pull repository:o/m:pull,push",realm="{realm}"',),
    ],
)
def test_what_a_registry_offers_is_read_however_it_is_written(offered: tuple[str, ...]) -> None:
    with serving(gives) as realm, wanting(*(each.format(realm=f"{realm}/token") for each in offered)) as found:
        url, registry = found
        assert has_nothing(url)
    assert registry.asked == ["Bearer right"]


def test_scopes_in_a_list_and_of_several_offers_are_all_asked_for() -> None:
    asked: list[str] = []

    def listens(handler: Any) -> None:
        asked.append(handler.path)
        gives(handler)

    said = 'Bearer realm="{}/token?a=b",service="s",scope="{}"'
    with serving(listens) as realm:
        first = said.format(realm, "repository:o/m:pull repository:o/m:push")
        with wanting(first, said.format(realm, "repository:x/y:pull")) as (url, _):
            assert has_nothing(url, None)
    both = "scope=repository%3Ao%2Fm%3Apull%2Cpush&scope=repository%3Ax%2Fy%3Apull"
    assert asked == [f"/token?a=b&service=s&{both}"]


def test_without_a_scope_what_is_done_says_it() -> None:
    asked: list[str] = []

    def listens(handler: Any) -> None:
        asked.append(handler.path.partition("scope=")[2])
        handler.answer(200, b'{"token":"wrong"}')

    with serving(listens) as realm, wanting(f'Bearer realm="{realm}/t"') as (url, _):
        with repository(url) as there, pytest.raises(errors.Unauthenticated):
            there.has(oci.digest_of(b""))
        with repository(url) as there, pytest.raises(errors.Unauthenticated):
            there.check_push()
    assert asked == ["repository%3Ao%2Fm%3Apull", "repository%3Ao%2Fm%3Apull%2Cpush"]


def test_basic_is_enough_where_bearer_names_no_realm() -> None:
    with wanting("Bearer, Basic realm=r") as (url, registry):
        assert has_nothing(url)
    assert registry.asked == [ME.basic]


@pytest.mark.parametrize(
    "challenge",
    [
        "Bearer",
        'Bearer realm=""',
        'Bearer realm="http://[bad/"',
        'Bearer realm="http://h:x/"',
        'Bearer realm="ftp://h/"',
        'Bearer realm="http://h/ x"',
        'Bearer realm="http://h/\xe9"',
        'Bearer realm="unfinished',
    ],
)
def test_a_realm_that_is_no_address_is_told(challenge: str) -> None:
    with wanting(challenge) as (url, _):
        told = refusal_of(url)
    assert isinstance(told, RegistryError)
    assert "does not say where it is had: WWW-Authenticate is 'Bearer" in told.detail
    assert told.hint


@pytest.mark.parametrize(
    "challenge",
    ["", ",,,", '"', "=", "Digest x=y", "a" * 60_000, " " * 60_000, '"\\' * 4000, "Bearer" + ' a="' * 10_000],
)
def test_a_challenge_that_says_nothing_is_a_refusal(challenge: str) -> None:
    with wanting(challenge) as (url, registry):
        assert isinstance(refusal_of(url), errors.Unauthenticated | RegistryError)
    assert registry.asked == []


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ((401, b'{"details":"no"}'), errors.Unauthenticated, "does not accept your login to get a token at"),
        ((403, b'{"errors":[{"code":"DENIED","message":"denied"}]}'), errors.Forbidden, "get a token at .*: denied"),
        ((404, b""), errors.NotFound, "cannot get a token at"),
        ((429, b""), errors.TooMany, "is asked too often"),
        ((500, b"<html>"), errors.Unavailable, "could not get a token at .*, status 500: <html>"),
        ((200, b"<html>"), RegistryError, "answers with no token: '<html>'; wanted: JSON with `token`"),
        ((200, b'{"token":""}'), RegistryError, "answers with no token"),
        ((200, b'{"token":5}'), RegistryError, "answers with no token"),
        ((200, b'["x"]'), RegistryError, "answers with no token"),
        ((200, b'{"token":"a b"}'), RegistryError, "answers with no token"),
        ((200, b'{"token":"a\\nX: y"}'), RegistryError, "answers with no token"),
        ((200, b"[" * 100_000), RegistryError, "answers with no token"),
    ],
)
def test_what_the_realm_answers_is_told_as_what_it_is(
    answer: tuple[int, bytes], kind: type[errors.ModelyardError], words: str
) -> None:
    with serving(lambda handler: handler.answer(*answer)) as realm, wanting(BEARER.format(realm=realm)) as (url, _):
        told = refusal_of(url)
    assert isinstance(told, kind)
    assert re.search(words, told.detail), told.detail


@pytest.mark.parametrize("seconds", ["-5", "0", '"x"', "null", "1e400", "[]", "true"])
def test_an_odd_end_of_a_token_is_passed_over(seconds: str) -> None:
    said = f'{{"token":"right","expires_in":{seconds}}}'.encode()
    with serving(lambda handler: handler.answer(200, said)) as realm, wanting(BEARER.format(realm=realm)) as found:
        url, registry = found
        with repository(url) as there:
            assert not there.has(oci.digest_of(b""))
            assert not there.has(oci.digest_of(b""))
    assert registry.asked == ["Bearer right"] * 2


def test_who_says_nothing_of_who_it_is_and_is_refused_a_token_is_told_to_log_in() -> None:
    denied = b'{"errors":[{"message":"denied"}]}'
    with serving(lambda handler: handler.answer(403, denied)) as realm, wanting(BEARER.format(realm=realm)) as (url, _):
        assert str(refusal_of(url, None).hint).startswith("`docker login ")
        assert str(refusal_of(url).hint).startswith("who may, has to log in: `docker login ")


def test_a_realm_where_nobody_answers_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
    with wanting(BEARER.format(realm=f"http://{nobody}/")) as (url, _):
        told = refusal_of(url)
    assert isinstance(told, errors.Unavailable)
    assert told.detail.startswith(f"{nobody}, where {url.partition('://')[2]} sends to for a token, does not answer: ")


@pytest.mark.parametrize("access", [ME, IDENTITY])
def test_a_realm_that_leads_to_another_host_does_not_take_the_login_along(access: Access) -> None:
    heard: list[tuple[str | None, bytes]] = []

    def elsewhere(handler: Any) -> None:
        heard.append((handler.headers.get("Authorization"), handler.body()))
        gives(handler)

    with serving(elsewhere) as other:

        def leads(handler: Any) -> None:
            handler.body()
            handler.answer(307, Location=f"{other}/token")

        with serving(leads) as realm, wanting(BEARER.format(realm=realm)) as (url, _):
            if access is ME:
                assert has_nothing(url)
                assert heard == [(None, b"")]
                return
            told = refusal_of(url, access)
            assert heard == []
            assert f"leads to '{other}/token'; what `docker login` keeps is not sent on" in told.detail


@pytest.fixture
def secured(other_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """What serves HTTPS at that address, and is trusted."""
    pair, trusted = certificates.make_issued(tmp_path, other_address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.chain, pair.key)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    return context


def test_a_secured_registry_gets_no_token_over_plain_http(other_address: str, secured: ssl.SSLContext) -> None:
    heard: list[str] = []

    def plain(handler: Any) -> None:
        heard.append(handler.path)
        gives(handler)

    words = "for a token, which is not secured as it is itself"
    with serving(plain) as realm:
        with serving(Odd((BEARER.format(realm=realm),), []), host=other_address, secure=secured) as url:
            assert words in refusal_of(url).detail
        assert heard == []

        def leads(handler: Any) -> None:
            handler.answer(302, Location=f"{realm}/token")

        with serving(leads, host=other_address, secure=secured) as first:
            registry = Odd((BEARER.format(realm=first),), [])
            with serving(registry, host=other_address, secure=secured) as url:
                assert words in refusal_of(url).detail
    assert registry.asked == []


def test_a_secured_registry_and_its_secured_realm_go_together(other_address: str, secured: ssl.SSLContext) -> None:
    with serving(gives, host=other_address, secure=secured) as realm:
        registry = Odd((BEARER.format(realm=realm),), [])
        with serving(registry, host=other_address, secure=secured) as url:
            assert has_nothing(url)
    assert registry.asked == ["Bearer right"]


def test_no_password_goes_over_plain_http_beyond_this_machine(other_address: str) -> None:
    heard: list[str | None] = []

    def plain(handler: Any) -> None:
        heard.append(handler.headers.get("Authorization"))
        gives(handler)

    with serving(plain, host=other_address) as realm, wanting(BEARER.format(realm=realm)) as (url, _):
        assert "plain HTTP beyond this machine" in refusal_of(url).detail
        assert heard == []
        # Who says nothing of who it is has nothing to lose.
        assert has_nothing(url, None)
    assert heard == [None]
