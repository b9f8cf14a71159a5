"""Bases that are not to be had: when a registry that says nothing is given up, and what is said meanwhile and then."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from bases import OWN, small
from weights_servers import serving

from modelyard.cli import bases, container, docker
from modelyard.cli.bases import Wish
from modelyard.cli.talk import Talk
from modelyard.errors import ModelyardError
from modelyard.oci.manifest import CONFIG, MANIFEST

SILENCE = "does not answer: it took too long to answer"


class Looked(NamedTuple):
    """The lines that somebody sees who looks for a base that is not to be had, and why and what to do at their end."""

    lines: list[str]
    reason: str
    hint: str | None


def looked(ref: str, folder: Path, *, given: bool = True, architecture: str = "amd64") -> Looked:
    environ = {"HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    stream = io.StringIO()
    with pytest.raises(ModelyardError) as refusal:
        bases.find(Wish(ref, OWN, architecture, given=given), environ, Talk(stream, environ=environ), seconds=0.1)
    return Looked(stream.getvalue().splitlines(), str(refusal.value), refusal.value.hint)


def came(silent: socket.socket) -> int:
    """How many connections were made to it."""
    silent.setblocking(False)
    count = 0
    while True:
        try:
            silent.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


@pytest.mark.parametrize("given", [True, False])
def test_a_registry_that_says_nothing_is_given_up_after_three_attempts_that_are_told(
    tmp_path: Path, silent: socket.socket, given: bool
) -> None:
    host = f"127.0.0.1:{silent.getsockname()[1]}"
    lines, reason, _ = looked(f"{host}/base:1", tmp_path, given=given)
    assert lines == [f"Looking up {host}/base:1", *[f"{host} {SILENCE}; trying again"] * 2]
    assert reason == f"the base image {host}/base:1 cannot be had: {host} {SILENCE}"
    assert came(silent) == 3


def test_a_registry_that_is_secured_is_told_from_its_first_silence_on(tmp_path: Path, other_address: str) -> None:
    with socket.create_server((other_address, 0)) as silent:
        host = f"{other_address}:{silent.getsockname()[1]}"
        lines = looked(f"{host}/base:1", tmp_path).lines
        assert lines == [f"Looking up {host}/base:1", *[f"{host} {SILENCE}; trying again"] * 3]
        assert came(silent) == 4


@pytest.mark.parametrize(("status", "words"), [(401, "wants you to log in to read"), (403, "does not let you read")])
def test_a_registry_that_refuses_who_asks_is_answered_by_how_to_log_in(tmp_path: Path, status: int, words: str) -> None:
    with serving(lambda handler: handler.answer(status, b"{}")) as url:
        host = url.removeprefix("http://")
        found = looked(f"{host}/base:1", tmp_path)
        lax = looked(f"{host}/base:2", tmp_path, given=False)
    assert f"{host} {words} the manifest 1" in found.reason
    assert str(found.hint).startswith(f"`docker login {host}`")
    # Where nobody named it, another one does as well.
    assert str(lax.hint).startswith("name one with --base-image")
    assert f"; or log in: `docker login {host}`" in str(lax.hint)


def test_a_configuration_that_is_cut_short_is_told_as_that(tmp_path: Path) -> None:
    digest = "sha256:" + "0" * 64

    def cut_short(handler: Any) -> None:
        if "/manifests/" in handler.path:
            part = {"mediaType": CONFIG, "digest": digest, "size": 100}
            document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": part, "layers": []}
            handler.answer(200, json.dumps(document).encode(), Content_Type=MANIFEST)
            return
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"{" * 7)
        handler.close_connection = True

    with serving(cut_short) as url:
        host = url.removeprefix("http://")
        found = looked(f"{host}/base:1", tmp_path, given=False)
    assert f"{host} does not answer as it should: the connection was closed 93 bytes before the end" in found.reason
    assert any(line.endswith("before the end; trying again") for line in found.lines)


def test_a_base_for_another_machine_is_answered_by_how_to_have_one(tmp_path: Path) -> None:
    found = looked(f"oci:{small(tmp_path / 'base')}", tmp_path, architecture="arm64")
    assert found.reason.endswith("is for linux/amd64; wanted: linux/arm64")
    assert str(found.hint).startswith("name a base for arm64 with --base-image, or ")
    assert str(found.hint).endswith("--platform linux/amd64")


@pytest.mark.parametrize("before", ["docker:", "docker-daemon:"])
def test_an_image_of_the_engine_is_answered_by_how_to_make_a_base_of_it(tmp_path: Path, before: str) -> None:
    found = looked(f"{before}mine:1", tmp_path)
    assert f"the base image is {before + 'mine:1'!r}; wanted: HOST/NAME:TAG or oci:FOLDER" in found.reason
    assert "`skopeo copy docker-daemon:mine:1 oci:FOLDER`" in str(found.hint)


def test_that_dockers_program_is_not_there_is_said_with_the_engine_that_it_would_ask(tmp_path: Path) -> None:
    nowhere = {"PATH": str(tmp_path)}
    assert docker.place(nowhere) == "here: the program `docker` is not on the PATH"
    asked = {**nowhere, docker.HOST: "tcp://10.0.0.1:2375"}
    assert "by which DOCKER_HOST=tcp://10.0.0.1:2375 would be asked" in docker.place(asked)
    with pytest.raises(container.NoEngineError) as refusal:
        container.engine("--container", asked)
    assert str(refusal.value.hint).startswith("install the program `docker`")
