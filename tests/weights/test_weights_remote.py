"""The client of registries: a yard's, one that sends for tokens, one behind a line that breaks."""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import certificates
import pytest
from weights_servers import Files, Line, TokenRegistry, digest, serving
from yard_process import Server

from modelyard import errors
from modelyard.oci.client import credentials, reference, remote
from modelyard.oci.client.credentials import Access
from modelyard.oci.client.door import Door, RegistryError
from modelyard.oci.client.remote import Repository
from modelyard.oci.client.web import Client
from modelyard.oci.manifest import MANIFEST, WrongDigestError

MIB = 1024 * 1024


def chunks_of(data: bytes) -> remote.Chunks:
    def chunks(offset: int) -> Iterator[bytes]:
        for start in range(offset, len(data), 100_000):
            yield data[start : start + 100_000]

    return chunks


def repository(host: str, path: str, access: Access | None, piece: int = MIB) -> Repository:
    door = Door(host, lambda _: access, Client())
    return Repository(door, path, piece_bytes=piece, wait=lambda _: None)


def of_yard(server: Server, path: str, host: str = "", piece: int = MIB) -> Repository:
    """A repository of the yard, by way of `host` if that is not the yard's own."""
    url = f"http://{host}" if host else server.url
    return repository(url.partition("://")[2], path, Access(token=server.token, url=url), piece)


def test_blobs_and_manifests_come_back_from_a_yard(server: Server, tmp_path: Path) -> None:
    data = os.urandom(3 * MIB + 17)
    with of_yard(server, "yard/remote") as there:
        assert not there.has(digest(data))
        told: list[int] = []
        there.send(digest(data), len(data), chunks_of(data), told.append)
        assert (sum(told), len(told)) == (len(data), 4)
        assert there.has(digest(data))
        there.fetch(digest(data), tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == data
        there.send_bytes(digest(b"{}"), b"{}")
        part = {"mediaType": "x", "digest": digest(b"{}"), "size": 2}
        whole = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "a/b", "config": part, "layers": []}
        manifest = json.dumps(whole).encode()
        there.put_manifest("cog-weight.x.123", manifest, MANIFEST)
        found = there.manifest("cog-weight.x.123")
        assert found == (manifest, MANIFEST, digest(manifest))
        assert there.has_manifest(digest(manifest))
        assert there.manifest("other") is None
        assert not there.has_manifest(digest(b"other"))


def test_a_yards_token_may_be_a_password_too(server: Server) -> None:
    host = server.url.partition("://")[2]
    with repository(host, "yard/remote", Access(username="any", password=server.token)) as there:
        there.send_bytes(digest(b"by password"), b"by password")
        assert there.has(digest(b"by password"))


def test_a_broken_connection_costs_only_what_was_on_its_way(server: Server, tmp_path: Path) -> None:
    data = os.urandom(4 * MIB)
    line = Line(server.url, [2 * MIB + 300_000, MIB + 200_000])
    with of_yard(server, "yard/broken", line.address) as there:
        told: list[int] = []
        there.send(digest(data), len(data), chunks_of(data), told.append)
        assert sum(told) == len(data)
    assert line.connections >= 3
    back = tmp_path / "back"
    other = Line(server.url, [MIB + 100_000, 2 * MIB])
    with of_yard(server, "yard/broken", other.address) as there:
        told = []
        there.fetch(digest(data), back, told.append)
        assert sum(told) == len(data)
    assert back.read_bytes() == data
    assert other.connections >= 3
    for each in (line, other):
        each.close()


def test_what_an_earlier_run_left_is_not_brought_again(server: Server, tmp_path: Path) -> None:
    data = os.urandom(2 * MIB)
    with of_yard(server, "yard/left") as there:
        there.send(digest(data), len(data), chunks_of(data))
        back = tmp_path / "back"
        back.write_bytes(data[: MIB + 5])
        told: list[int] = []
        there.fetch(digest(data), back, told.append)
        assert back.read_bytes() == data
        there.fetch(digest(data), back, told.append)
        assert back.read_bytes() == data


def test_bytes_that_are_not_those_wanted_are_refused_and_removed(server: Server, tmp_path: Path) -> None:
    data = os.urandom(MIB)
    with of_yard(server, "yard/wrong") as there:
        there.send(digest(data), len(data), chunks_of(data))
        back = tmp_path / "back"
        back.write_bytes(b"from somewhere else")
        with pytest.raises(WrongDigestError, match="the digest of what came is"):
            there.fetch(digest(data), back)
        assert not back.exists()
        with pytest.raises(errors.NotFound, match=f"cannot give {digest(b'none')[:19]}"):
            there.fetch(digest(b"none"), back)
        with pytest.raises(RegistryError, match="announced was"):
            there.send(digest(b"other"), len(data), chunks_of(data))


def test_who_may_not_is_told_so_in_a_sentence(server: Server) -> None:
    with of_yard(server, "somebody/else") as there:
        with pytest.raises(errors.ModelyardError) as refusal:
            there.send_bytes(digest(b"x"), b"x")
        assert "no repository somebody/else" in refusal.value.detail
    host = server.url.partition("://")[2]
    with repository(host, "yard/m", None) as there, pytest.raises(errors.Unauthenticated) as unknown:
        there.manifest("v1")
    assert unknown.value.detail.startswith(f"{host} wants you to log in to read the manifest v1")
    assert str(unknown.value.hint) == f"`yard login {server.url}`, or `docker login {host}`"
    with repository(host, "yard/m", Access("ada", "wrong")) as there, pytest.raises(errors.Unauthenticated) as wrong:
        there.manifest("v1")
    assert "does not accept your login" in wrong.value.detail


@pytest.mark.parametrize("status", [204, 405, 501])
def test_whether_it_may_send_is_asked_by_an_upload_that_is_dropped(status: int) -> None:
    asked: list[tuple[str, str]] = []

    def registry(handler: Any) -> None:
        asked.append((handler.command, handler.path))
        handler.answer(status if handler.command == "DELETE" else 202, Location="/v2/o/m/blobs/uploads/1")

    with serving(registry) as url, repository(url.partition("://")[2], "o/m", None) as there:
        there.check_push()
    assert asked == [("POST", "/v2/o/m/blobs/uploads/"), ("DELETE", "/v2/o/m/blobs/uploads/1")]


def test_one_connection_serves_all_that_is_asked_one_after_the_other() -> None:
    ports: list[int] = []

    def listens(handler: Any) -> None:
        handler.body()
        ports.append(handler.client_address[1])
        handler.answer(200, b"" if handler.path == "/empty" else b"x" * 1000)

    with serving(listens) as url, Client() as client:
        for method, path in (("GET", "/a"), ("HEAD", "/b"), ("GET", "/empty"), ("POST", "/c"), ("GET", "/d")):
            with client.open(method, url + path, body=b"y" if method == "POST" else None) as reply:
                assert len(reply.read()) == (0 if method == "HEAD" or path == "/empty" else 1000)
        # What is not read to its end is not taken for the next answer.
        with client.open("GET", url + "/left") as reply:
            next(reply.pieces())
        with client.open("GET", url + "/next") as reply:
            assert reply.read() == b"x" * 1000
    assert len(ports) == 7
    assert len(set(ports[:6])) == 1


@pytest.mark.parametrize(
    ("said", "pieces"),
    [
        ({}, [400, 400, 200]),
        ({"OCI-Chunk-Max-Length": "300"}, [300, 300, 300, 100]),
        ({"OCI-Chunk-Min-Length": "600"}, [600, 400]),
        ({"OCI-Chunk-Min-Length": "700", "OCI-Chunk-Max-Length": "300"}, [700, 300]),
        ({"OCI-Chunk-Min-Length": "9" * 5000, "OCI-Chunk-Max-Length": "0"}, [400, 400, 200]),
    ],
)
def test_a_registry_says_how_large_pieces_are(said: dict[str, str], pieces: list[int]) -> None:
    came: list[int] = []

    def registry(handler: Any) -> None:
        body = handler.body()
        if handler.command == "PATCH":
            came.append(len(body))
        handler.answer(201 if handler.command == "PUT" else 202, Location="/v2/o/m/blobs/uploads/1", **said)

    data = os.urandom(1000)
    with serving(registry) as url, repository(url.partition("://")[2], "o/m", None, 400) as there:
        there.send(digest(data), len(data), chunks_of(data))
    assert came == pieces


@pytest.mark.parametrize("kind", ["password", "token"])
def test_several_that_are_asked_who_they_are_at_once_all_get_in(server: Server, kind: str) -> None:
    with serving(TokenRegistry(manifests={"t": b"{}"})) as url:
        if kind == "token":
            there = repository(url.partition("://")[2], "o/m", Access("ada", "pw"))
        else:
            there = repository(server.url.partition("://")[2], "yard/many", Access("any", server.token))

        def one(_: int) -> bool:
            with there.twin() as own:
                return own.has_manifest("t")

        with ThreadPoolExecutor(12) as pool:
            assert set(pool.map(one, range(24))) == {kind == "token"}


def test_a_registry_that_wants_a_token_gets_one_and_the_place_it_leads_to_does_not(tmp_path: Path) -> None:
    data = os.urandom(200_000)
    files = Files({f"/{digest(data)}": data})
    heard: list[str | None] = []

    def other_host(handler: object) -> None:
        heard.append(handler.headers.get("Authorization"))  # type: ignore[attr-defined]
        files(handler)  # type: ignore[arg-type]

    with serving(other_host) as elsewhere:
        registry = TokenRegistry(elsewhere=elsewhere.replace("127.0.0.1", "localhost"))
        with serving(registry) as url:
            there = repository(url.partition("://")[2], "o/m", Access("ada", "pw"))
            there.send(digest(data), len(data), chunks_of(data))
            there.fetch(digest(data), tmp_path / "back")
            there.put_manifest("t", b"{}", MANIFEST)
            assert there.twin().manifest("t") == (b"{}", MANIFEST, digest(b"{}"))
            assert [path for _, path in registry.asked].count("/token") == 1
    assert (tmp_path / "back").read_bytes() == data
    assert heard == [None]


def test_an_identity_token_gets_a_token_too() -> None:
    with serving(TokenRegistry(manifests={"t": b"{}"})) as url:
        there = repository(url.partition("://")[2], "o/m", Access(identity_token="identity"))
        found = there.manifest("t")
    assert found is not None
    assert found.data == b"{}"


def test_a_wrong_password_for_a_token_is_told() -> None:
    with serving(TokenRegistry()) as url:
        there = repository(url.partition("://")[2], "o/m", Access("ada", "wrong"))
        with pytest.raises(errors.Unauthenticated, match="does not accept your login to get a token: wrong password"):
            there.has(digest(b""))


@pytest.mark.parametrize(("status", "kind"), [(429, errors.TooMany), (503, errors.Unavailable)])
def test_a_busy_registry_is_asked_again_and_then_given_up(status: int, kind: type[Exception]) -> None:
    registry = TokenRegistry(busy=[status] * 3)
    with serving(registry) as url:
        there = repository(url.partition("://")[2], "o/m", Access("ada", "pw"))
        assert there.manifest("none") is None
        registry.busy = [status] * 50
        with pytest.raises(kind, match="busy"):
            there.manifest("none")


def test_a_registry_that_is_not_there_or_hangs_is_given_up() -> None:
    line = Line("http://127.0.0.1:1", [])
    line.close()
    there = repository(line.address, "o/m", None)
    with pytest.raises(errors.Unavailable, match=f"{line.address} does not answer"):
        there.manifest("t")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        quick = Repository(
            Door(host, credentials.nobody, Client()), "o/m", client=Client(timeout_seconds=0.1), wait=lambda _: None
        )
        with pytest.raises(errors.Unavailable, match="it took too long to answer"):
            quick.manifest("t")


def test_a_registry_that_speaks_plainly_never_hears_a_password(other_address: str) -> None:
    heard: list[str | None] = []

    def basic(handler: object) -> None:
        heard.append(handler.headers.get("Authorization"))  # type: ignore[attr-defined]
        handler.answer(401, b"{}", WWW_Authenticate='Basic realm="r"')  # type: ignore[attr-defined]

    with serving(basic, host=other_address) as url:
        there = repository(url.partition("://")[2], "o/m", Access("ada", "pw"))
        with pytest.raises(errors.Unauthenticated) as refusal:
            there.manifest("t")
    assert heard
    assert set(heard) == {None}
    assert "no password is sent so" in str(refusal.value.hint)


def test_a_certificate_that_is_not_trusted_is_told_and_nothing_is_sent_plainly(
    other_address: str, tmp_path: Path
) -> None:
    pair = certificates.make(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.chain, pair.key)
    asked: list[object] = []
    with (
        serving(asked.append, host=other_address, secure=context) as url,
        pytest.raises(errors.Unavailable, match="its certificate is not trusted here"),
    ):
        repository(url.partition("://")[2], "o/m", Access("ada", "pw"))
    assert asked == []


def test_dockers_file_and_helpers_say_who_one_is(tmp_path: Path) -> None:
    helper = tmp_path / "bin" / "docker-credential-tests"
    helper.parent.mkdir()
    helper.write_text('#!/bin/sh\nread host\necho "{\\"Username\\":\\"of-$host\\",\\"Secret\\":\\"s\\"}"\n')
    helper.chmod(0o755)
    config = {
        "auths": {
            "a.example": {"auth": "YWRhOnB3"},
            "https://index.docker.io/v1/": {"auth": "aHViOnB3"},
            "t.example": {"identitytoken": "it"},
            "b.example": {"auth": "%%%"},
        },
        "credHelpers": {"h.example": "tests", "m.example": "missing"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    find = credentials.docker({"DOCKER_CONFIG": str(tmp_path), "PATH": f"{helper.parent}:{os.environ['PATH']}"})
    assert find("a.example") == Access("ada", "pw")
    assert find(reference.DEFAULT_REGISTRY) == Access("hub", "pw")
    assert find("t.example") == Access(identity_token="it")
    assert find("h.example") == Access("of-h.example", "s")
    for unknown in ("m.example", "b.example", "n.example"):
        assert find(unknown) is None
    assert credentials.docker({"DOCKER_CONFIG": str(tmp_path / "none")})("a.example") is None
