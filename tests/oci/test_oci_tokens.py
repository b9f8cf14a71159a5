"""A registry that wants tokens, as Docker's hub and others do: Docker's own program, with tokens really signed."""

from __future__ import annotations

import base64
import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import token_service
from token_service import IDENTITY, SERVICE, Registry, Tokens

from modelyard import errors
from modelyard.oci import manifest as oci
from modelyard.oci.client import credentials, reference, remote
from modelyard.oci.client.credentials import Access
from modelyard.oci.client.door import Door
from modelyard.oci.client.remote import Repository
from modelyard.oci.client.web import Client

ME = Access("me", "secret")
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with token_service.up(tmp_path_factory.mktemp("tokens")) as found:
        yield found


@pytest.fixture
def registry(started: Registry) -> Registry:
    """It, as it is at first."""
    fresh = Tokens(started.tokens.pair)
    for name, value in vars(fresh).items():
        setattr(started.tokens, name, value)
    return started


@pytest.fixture
def name() -> str:
    return f"m{uuid.uuid4().hex[:10]}"


def repository(
    host: str,
    path: str,
    access: Access | None = None,
    *,
    piece: int = MIB,
    clock: Callable[[], float] = lambda: 0.0,
    attempts: int = 5,
) -> Repository:
    """With a clock that stands, unless a test moves it."""
    door = Door(host, lambda _: access, Client(), clock=clock)
    return Repository(door, path, piece_bytes=piece, wait=lambda _: None, attempts=attempts)


def sent(there: Repository, size: int = 1000, progress: Callable[[int], None] = lambda _: None) -> tuple[str, bytes]:
    data = os.urandom(size)
    there.send(oci.digest_of(data), size, lambda offset: iter((data[offset:],)), progress)
    return oci.digest_of(data), data


def public(registry: Registry, name: str, data: bytes) -> str:
    """A blob and a manifest that everybody may pull."""
    digest = oci.digest_of(data)
    with repository(registry.host, f"me/{name}", ME) as there:
        there.send_bytes(digest, data)
        part = {"mediaType": oci.CONFIG, "digest": digest, "size": len(data)}
        there.put_manifest(
            "latest",
            json.dumps({"schemaVersion": 2, "mediaType": oci.MANIFEST, "config": part, "layers": []}).encode(),
            oci.MANIFEST,
        )
    registry.publish(name)
    registry.tokens.asked.clear()
    return digest


def test_everybody_pulls_with_a_token_for_that_alone(registry: Registry, name: str, tmp_path: Path) -> None:
    digest = public(registry, name, b"for all")
    with repository(registry.host, f"public/{name}") as there:
        assert there.manifest("latest") is not None
        assert there.size(digest) == len(b"for all")
        there.fetch(digest, tmp_path / "came")
    assert (tmp_path / "came").read_bytes() == b"for all"
    (asked,) = registry.tokens.asked
    assert (asked.method, asked.said) == ("GET", "")
    assert (asked.scopes, asked.service) == ([f"repository:public/{name}:pull"], [SERVICE])


def test_nobody_pushes_and_is_told_to_log_in(registry: Registry, name: str) -> None:
    with repository(registry.host, f"me/{name}") as there, pytest.raises(errors.Unauthenticated) as refusal:
        there.check_push()
    assert f"{registry.host} wants you to log in to push there" in refusal.value.detail
    assert f"`docker login {registry.host}`" in str(refusal.value.hint)


@pytest.mark.parametrize("key", ["token", "access_token"])
def test_a_name_and_a_password_push_and_pull(registry: Registry, name: str, tmp_path: Path, key: str) -> None:
    registry.tokens.key = key
    with repository(registry.host, f"me/{name}", ME) as there:
        there.check_push()
        digest, data = sent(there, 3 * MIB + 5)
        there.fetch(digest, tmp_path / "came")
    assert (tmp_path / "came").read_bytes() == data
    assert {each.said for each in registry.tokens.asked} == {ME.basic}
    assert registry.tokens.asked[0].scopes == [f"repository:me/{name}:pull,push"]


def test_a_wrong_password_is_told_with_the_place_that_does_not_take_it(registry: Registry, name: str) -> None:
    wrong = Access("me", "wrong")
    with repository(registry.host, f"me/{name}", wrong) as there, pytest.raises(errors.Unauthenticated) as refusal:
        there.check_push()
    assert f"{registry.host} does not accept your login to get a token at 127.0.0.1:" in refusal.value.detail
    assert "secret" not in refusal.value.detail
    assert f"`docker login {registry.host}`" in str(refusal.value.hint)


def test_dockers_identity_token_gets_tokens_and_the_next_of_its_kind_is_used(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    """As `docker login` keeps it: with a name that is none, and no password."""
    auth = base64.b64encode(b"00000000-0000-0000-0000-000000000000:").decode()
    kept = {"auths": {registry.host: {"auth": auth, "identitytoken": IDENTITY}}}
    (tmp_path / "config.json").write_text(json.dumps(kept))
    access = credentials.docker({"DOCKER_CONFIG": str(tmp_path)})(registry.host)
    registry.tokens.key = "access_token"
    registry.tokens.says = {"refresh_token": "identity-2"}
    with repository(registry.host, f"me/{name}", access) as there:
        assert not there.has(oci.digest_of(b"none"))
        registry.tokens.identity = "identity-2"  # the first is used up
        there.send_bytes(oci.digest_of(b"x"), b"x")
    first, second = registry.tokens.asked
    assert (first.method, first.said, first.scopes) == ("POST", "", [f"repository:me/{name}:pull"])
    assert first.form["grant_type"] == ["refresh_token"]
    assert (first.form["refresh_token"], second.form["refresh_token"]) == ([IDENTITY], ["identity-2"])


@pytest.mark.parametrize("kind", ["credHelpers", "credsStore", "identity"])
def test_a_helper_of_dockers_says_who_one_is(registry: Registry, name: str, tmp_path: Path, kind: str) -> None:
    helper = tmp_path / "docker-credential-ours"
    said = {"Username": "me", "Secret": "secret"} if kind != "identity" else {"Username": "<token>", "Secret": IDENTITY}
    helper.write_text(
        f'#!/bin/sh\nread host\n[ "$1 $host" = "get {registry.host}" ] || exit 1\necho \'{json.dumps(said)}\'\n'
    )
    helper.chmod(0o755)
    kept = {"credsStore": "ours"} if kind == "credsStore" else {"credHelpers": {registry.host: "ours"}}
    (tmp_path / "config.json").write_text(json.dumps(kept))
    find = credentials.docker({"DOCKER_CONFIG": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    with remote.open_repository(reference.parse(f"{registry.host}/me/{name}", "it"), find) as there:
        sent(there)
    assert registry.tokens.asked[0].method == ("POST" if kind == "identity" else "GET")


def refused(registry: Registry, path: str) -> Callable[[], bool]:
    """Is the token that was given last no longer taken?"""
    url = f"http://{registry.host}/v2/{path}/tags/list"
    return lambda: httpx.get(url, headers={"Authorization": f"Bearer {registry.tokens.given[-1]}"}).status_code == 401


@pytest.mark.parametrize("piece", [MIB, 16 * MIB])
def test_a_token_that_ends_in_the_middle_of_a_push_is_asked_anew(
    registry: Registry, name: str, tmp_path: Path, piece: int
) -> None:
    """Nobody said when it ends: the registry's refusal does. Of a large piece that is a broken connection; then it is
    asked how far it came, which is a look, and the token for that has to let the push go on all the same."""
    registry.tokens.lasts = 1.5
    is_over = refused(registry, f"me/{name}")

    def progress(count: int) -> None:
        if count and registry.tokens.lasts < 10:
            while not is_over():
                pass
            registry.tokens.lasts = 300

    with repository(registry.host, f"me/{name}", ME, piece=piece) as there:
        digest, data = sent(there, 2 * piece, progress)
        there.fetch(digest, tmp_path / "came")
    assert (tmp_path / "came").read_bytes() == data
    assert len(registry.tokens.asked) >= 2
    assert {scope for each in registry.tokens.asked for scope in each.scopes} == {f"repository:me/{name}:pull,push"}


def test_who_looks_and_who_sends_at_the_same_moment_both_get_a_token_that_is_enough(
    registry: Registry, name: str
) -> None:
    path = f"me/{name}"
    url = f"http://{registry.host}/v2/{path}/blobs"
    looks = httpx.head(f"{url}/{oci.digest_of(b'x')}").headers["www-authenticate"]
    sends = httpx.post(f"{url}/uploads/").headers["www-authenticate"]
    with Client() as client:
        door = Door(registry.host, lambda _: ME, client)
        assert door.challenged(looks, "HEAD", path, None, client)
        # Another thread was refused before the first had its token.
        assert door.challenged(sends, "POST", path, None, client)
        assert httpx.post(f"{url}/uploads/", headers=door.header(path, client)).status_code == 202
        # And who looked has one too, without another being asked for.
        assert door.challenged(looks, "HEAD", path, None, client)
    assert len(registry.tokens.given) == 2


def test_a_token_is_asked_anew_before_it_ends_where_it_says_when(registry: Registry, name: str) -> None:
    registry.tokens.says = {"expires_in": 120}
    now = [0.0]

    def progress(count: int) -> None:
        now[0] += 50.0

    with repository(registry.host, f"me/{name}", ME, clock=lambda: now[0]) as there:
        sent(there, 6 * MIB, progress)
    # 300 seconds of it, in which each token was used for no more than 110.
    assert len(registry.tokens.asked) == 3
    paths = [line for line in registry.log.splitlines() if f"me/{name}/" in line and "authorization token" in line]
    assert len(paths) == 1, "only the first request was refused"


def test_a_service_that_is_away_for_a_moment_does_not_end_a_token_that_is_still_good(
    registry: Registry, name: str
) -> None:
    now = [0.0]
    with repository(registry.host, f"me/{name}", ME, clock=lambda: now[0]) as there:
        sent(there)
        now[0], registry.tokens.away = 1000.0, True
        before = len(registry.tokens.asked)
        sent(there)
    assert len(registry.tokens.asked) > before


def test_a_layer_is_taken_over_with_a_token_for_both_repositories(registry: Registry, name: str) -> None:
    with repository(registry.host, f"me/{name}-first", ME) as there:
        digest, _ = sent(there)
    registry.tokens.asked.clear()
    with repository(registry.host, f"me/{name}", ME) as there:
        there.check_push()
        assert there.mount(digest, f"me/{name}-first")
        assert there.has(digest)
        sent(there)
    scopes = {scope for each in registry.tokens.asked for scope in each.scopes}
    assert f"repository:me/{name}-first:pull" in scopes
    both = [each.scopes for each in registry.tokens.asked if f"repository:me/{name}-first:pull" in each.scopes]
    assert all(len(each) == 2 for each in both), "each is a parameter of its own"


def test_a_layer_of_a_repository_that_one_may_not_read_is_not_taken_over_and_the_push_goes_on(
    registry: Registry, name: str
) -> None:
    with repository(registry.host, f"me/{name}", ME) as there:
        with pytest.raises(errors.Forbidden, match=r"does not let you take over .* with your login"):
            there.mount(oci.digest_of(b"theirs"), "them/secret")
        sent(there)
