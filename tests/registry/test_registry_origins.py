"""Layers of bases that stay in their registry until somebody wants them: two real registries, one behind the other."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from registry_yard import Yard
from talking import OTHER, OWNER, Reply, ask, put_blob, put_manifest
from weights_servers import Line, serving

from modelyard.oci import manifest as oci
from modelyard.oci.client import credentials
from modelyard.oci.client.credentials import Access
from modelyard.oci.manifest import CONFIG, LAYER_GZIP, Config, Descriptor, Manifest
from modelyard.predictions.webhooks import is_public
from modelyard.registry.upstreams import Upstreams

SIZE = 3_000_000
MOUNT = "/v2/owner/m/blobs/uploads/?mount={digest}&from={origin}"


@pytest.fixture
def upstream(tmp_path: Path, sqlite_template: Path) -> Iterator[Yard]:
    """Another registry, which the yard knows as an owner does."""
    folder = tmp_path / "upstream"
    folder.mkdir()
    shutil.copy(sqlite_template, folder / "yard.db")
    found = Yard(folder=folder, database=folder / "yard.db")
    found.start()
    yield found
    found.stop()


@pytest.fixture
def layer(upstream: Yard) -> Descriptor:
    """A layer of a base that the upstream has."""
    return put_blob(upstream, "owner/base", os.urandom(SIZE))


def knows(yard: Yard, address: str, *, line: Line | None = None) -> str:
    """Let the yard know the base at this address; gives the origin of its layers."""
    origin = f"{line.address if line else address}/owner/base"
    yard.upstreams = Upstreams(f"{origin}:latest", lambda _: Access(token="owner-token"))
    yard.restart()
    return origin


def address(upstream: Yard) -> str:
    return f"127.0.0.1:{upstream.port}"


def mount(yard: Yard, layer: Descriptor, origin: str) -> Reply:
    return ask(yard, "POST", MOUNT.format(digest=layer.digest, origin=origin))


def pushed(yard: Yard, layer: Descriptor, tag: str = "latest") -> None:
    """An image on the base, of which its configuration alone was sent."""
    config = put_blob(yard, "owner/m", oci.render_config(Config(labels={"on": layer.digest})))
    config = Descriptor(media_type=CONFIG, digest=config.digest, size=config.size)
    reply = put_manifest(yard, f"/v2/owner/m/manifests/{tag}", oci.render(Manifest(config=config, layers=(layer,))))
    assert reply.status == 201, reply.body


def bytes_here(yard: Yard, layer: Descriptor) -> Path:
    return yard.folder / "blobs" / oci.blob_key(layer.digest)


def pull(yard: Yard, layer: Descriptor, **headers: str) -> Reply:
    return ask(yard, "GET", f"/v2/owner/m/blobs/{layer.digest}", b"", None, **headers)


def cut_off(yard: Yard, repository: str, layer: Descriptor) -> bool:
    """Does a pull end with an error, before the first byte or in the middle, as a registry's wrong bytes let it?"""
    who = OWNER if repository.startswith("owner/") else OTHER
    try:
        return ask(yard, "GET", f"/v2/{repository}/blobs/{layer.digest}", b"", who).status == 503
    except http.client.IncompleteRead:
        return True


def test_a_layer_comes_through_at_the_first_pull_and_is_kept(yard: Yard, upstream: Yard, layer: Descriptor) -> None:
    origin = knows(yard, address(upstream))
    assert mount(yard, layer, origin).status == 201
    pushed(yard, layer)
    head = ask(yard, "HEAD", f"/v2/owner/m/blobs/{layer.digest}")
    assert (head.status, head.headers["content-length"]) == (200, str(SIZE))
    assert not bytes_here(yard, layer).exists()
    reply = pull(yard, layer)
    assert reply.status == 200
    assert oci.digest_of(reply.body) == layer.digest
    assert bytes_here(yard, layer).read_bytes() == reply.body
    upstream.stop()
    assert pull(yard, layer).body == reply.body
    upstream.start()


def test_a_range_comes_through_too(yard: Yard, upstream: Yard, layer: Descriptor) -> None:
    origin = knows(yard, address(upstream))
    mount(yard, layer, origin)
    reply = pull(yard, layer, Range=f"bytes={SIZE - 10}-")
    assert (reply.status, len(reply.body)) == (206, 10)
    assert reply.body == pull(yard, layer).body[-10:]


def test_all_who_pull_at_once_share_one_fetch(yard: Yard, upstream: Yard, layer: Descriptor) -> None:
    line = Line(upstream.url, [])
    origin = knows(yard, address(upstream), line=line)
    mount(yard, layer, origin)
    before = line.passed
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: pull(yard, layer), range(8)))
    assert {oci.digest_of(reply.body) for reply in replies} == {layer.digest}
    assert SIZE <= line.passed - before < 2 * SIZE


def test_what_breaks_on_the_way_goes_on_where_it_was(yard: Yard, upstream: Yard, layer: Descriptor) -> None:
    line = Line(upstream.url, [])
    origin = knows(yard, address(upstream), line=line)
    mount(yard, layer, origin)
    before = line.passed
    line._budgets.extend([SIZE // 2, SIZE // 3])
    assert oci.digest_of(pull(yard, layer).body) == layer.digest
    assert line.passed - before < SIZE + SIZE // 2


def test_an_upstream_that_is_away_is_told_and_leaves_nothing(yard: Yard, upstream: Yard, layer: Descriptor) -> None:
    origin = knows(yard, address(upstream))
    mount(yard, layer, origin)
    pushed(yard, layer)
    upstream.stop()
    reply = pull(yard, layer)
    assert reply.status == 503
    assert reply.error["code"] == "UNAVAILABLE"
    assert f"is of a base at {origin}" in reply.error["message"]
    assert "does not answer" in reply.error["message"]
    assert reply.error["detail"]["hint"].startswith("Try again when that registry answers")
    assert not bytes_here(yard, layer).exists()
    upstream.start()
    assert oci.digest_of(pull(yard, layer).body) == layer.digest


def test_bytes_that_are_others_are_never_given_whole_and_never_kept(yard: Yard) -> None:
    good, bad = os.urandom(SIZE), os.urandom(SIZE)
    described = Descriptor(media_type=LAYER_GZIP, digest=oci.digest_of(good), size=SIZE)
    with serving(lambda handler: handler.content(bad)) as url:
        host = url.removeprefix("http://")
        origin = knows(yard, host)
        assert mount(yard, described, origin).status == 201
        assert cut_off(yard, "owner/m", described)
    assert not bytes_here(yard, described).exists()
    assert pull(yard, described).status == 503


def test_a_layer_that_broke_off_is_refused_with_the_reason_while_its_registry_refuses_the_rest(
    yard: Yard, caplog: pytest.LogCaptureFixture
) -> None:
    data, refused = os.urandom(SIZE), threading.Event()
    described = Descriptor(media_type=LAYER_GZIP, digest=oci.digest_of(data), size=SIZE)

    def breaks_off(handler: Any) -> None:
        if handler.command == "HEAD":
            handler.answer(200, data)
        elif refused.is_set():
            handler.answer(404, b"gone")
        else:
            handler.send_response(200)
            handler.send_header("Content-Length", str(SIZE))
            handler.end_headers()
            handler.wfile.write(data[: SIZE // 2])
            refused.set()
            handler.close_connection = True

    with serving(breaks_off) as url:
        host = url.removeprefix("http://")
        assert mount(yard, described, knows(yard, host)).status == 201
        with pytest.raises(http.client.IncompleteRead):
            pull(yard, described)
        for _ in range(2):
            reply = pull(yard, described)
            assert (reply.status, reply.error["code"]) == (503, "UNAVAILABLE")
            assert f"{host} cannot give {described.digest[:19]}" in reply.error["message"]
    cut = [record for record in caplog.records if "cut off on its way through" in record.getMessage()]
    assert [record.levelname for record in cut] == ["WARNING"]
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_layer_that_does_not_end_where_it_was_said_to_is_left_off_there_and_not_kept(yard: Yard) -> None:
    end = threading.Event()
    described = Descriptor(media_type=LAYER_GZIP, digest=oci.digest_of(b"x" * SIZE), size=SIZE)

    def flows(handler: Any) -> None:
        if handler.command == "HEAD":
            handler.answer(200, b"x" * SIZE)
            return
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(OSError):
            while not end.is_set():
                handler.wfile.write(b"x" * 100_000)

    with serving(flows) as url:
        assert mount(yard, described, knows(yard, url.removeprefix("http://"))).status == 201
        try:
            assert cut_off(yard, "owner/m", described)
        finally:
            end.set()
    assert not bytes_here(yard, described).exists()
    assert list((yard.folder / "uploads").iterdir()) == []


def test_whoever_says_that_a_layer_is_elsewhere_does_not_get_what_others_have_here(yard: Yard) -> None:
    private = put_blob(yard, "owner/private", os.urandom(1000))
    with serving(lambda handler: handler.answer(200, b"x" * 1000)) as url:
        origin = knows(yard, url.removeprefix("http://"))
        path = f"/v2/other/m/blobs/uploads/?mount={private.digest}&from={origin}"
        assert ask(yard, "POST", path, b"", OTHER).status == 201
        assert cut_off(yard, "other/m", private)


def test_a_base_that_the_yard_may_not_have_is_sent(yard: Yard, upstream: Yard, layer: Descriptor) -> None:
    yard.upstreams = Upstreams()
    yard.restart()
    reply = mount(yard, layer, f"{address(upstream)}/owner/base")
    assert reply.status == 202
    assert reply.headers["location"].startswith("/v2/owner/m/blobs/uploads/")


@pytest.mark.parametrize("name", ["127.0.0.1:99999/a/b", f"{'h' * 70}.example/a", "not..a.host/x", "[::1/a", ".x/y"])
def test_names_that_are_no_registries_are_refused_as_unknown(yard: Yard, layer: Descriptor, name: str) -> None:
    yard.upstreams = Upstreams()
    yard.restart()
    assert mount(yard, layer, name).status == 202


def test_an_address_of_a_private_network_is_not_asked_for_a_stranger(yard: Yard) -> None:
    asked: list[str] = []

    def listens(handler: object) -> None:
        asked.append(str(handler))
        handler.answer(200, b"x")  # type: ignore[attr-defined]

    with serving(listens) as url:
        layer = Descriptor(media_type=LAYER_GZIP, digest=oci.digest_of(b"x"), size=1)
        origin = f"{url.removeprefix('http://')}/owner/base"
        yard.upstreams = Upstreams(None, credentials.nobody, is_public)
        yard.restart()
        assert mount(yard, layer, origin).status == 202
        assert asked == []
        # The base that the yard itself is set to may be anywhere.
        yard.upstreams = Upstreams(origin, credentials.nobody, is_public)
        yard.restart()
        assert mount(yard, layer, origin).status == 201


def test_another_repository_takes_over_what_is_elsewhere(yard: Yard, upstream: Yard, layer: Descriptor) -> None:
    origin = knows(yard, address(upstream))
    mount(yard, layer, origin)
    path = f"/v2/owner/second/blobs/uploads/?mount={layer.digest}&from=owner/m"
    assert ask(yard, "POST", path).status == 201
    assert oci.digest_of(ask(yard, "GET", f"/v2/owner/second/blobs/{layer.digest}").body) == layer.digest
    # What came for one came for both.
    upstream.stop()
    assert pull(yard, layer).status == 200
    upstream.start()


def test_what_came_once_from_there_is_had_at_once(yard: Yard, upstream: Yard, layer: Descriptor) -> None:
    origin = knows(yard, address(upstream))
    mount(yard, layer, origin)
    pull(yard, layer)
    upstream.stop()
    path = f"/v2/owner/third/blobs/uploads/?mount={layer.digest}&from={origin}"
    assert ask(yard, "POST", path).status == 201
    assert ask(yard, "GET", f"/v2/owner/third/blobs/{layer.digest}").status == 200
    upstream.start()


def test_a_layer_whose_bytes_were_lost_comes_again(yard: Yard, upstream: Yard, layer: Descriptor) -> None:
    origin = knows(yard, address(upstream))
    mount(yard, layer, origin)
    pull(yard, layer)
    bytes_here(yard, layer).unlink()
    assert oci.digest_of(pull(yard, layer).body) == layer.digest


def test_a_manifest_that_is_wrong_about_the_size_of_what_is_elsewhere_is_refused(
    yard: Yard, upstream: Yard, layer: Descriptor
) -> None:
    mount(yard, layer, knows(yard, address(upstream)))
    config = put_blob(yard, "owner/m", oci.render_config(Config()))
    config = Descriptor(media_type=CONFIG, digest=config.digest, size=config.size)
    wrong = Descriptor(media_type=LAYER_GZIP, digest=layer.digest, size=SIZE + 1)
    reply = put_manifest(yard, "/v2/owner/m/manifests/t", oci.render(Manifest(config=config, layers=(wrong,))))
    assert reply.error["code"] == "SIZE_INVALID"


def test_a_blob_that_is_elsewhere_can_be_given_up(yard: Yard, upstream: Yard, layer: Descriptor) -> None:
    mount(yard, layer, knows(yard, address(upstream)))
    assert ask(yard, "DELETE", f"/v2/owner/m/blobs/{layer.digest}").status == 202
    assert pull(yard, layer).status == 404
    with sqlite3.connect(yard.database) as rows:
        assert rows.execute("SELECT count(*) FROM blob_origins").fetchone() == (0,)


def test_a_registry_that_hangs_costs_one_push_a_moment_and_the_next_ones_nothing(yard: Yard) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        origin = knows(yard, f"127.0.0.1:{silent.getsockname()[1]}")
        layer = Descriptor(media_type=LAYER_GZIP, digest=oci.digest_of(b"x"), size=1)
        assert mount(yard, layer, origin).status == 202
        began = time.monotonic()
        assert mount(yard, layer, origin).status == 202
        assert time.monotonic() - began < 4
