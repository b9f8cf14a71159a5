"""Two registries, each a process, on one database and one folder of blobs: what the one does holds for the other."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import pytest
from talking import Reply, ask, put_blob, put_manifest

from modelyard.oci import manifest as oci
from modelyard.oci.manifest import CONFIG, Config, Descriptor, Manifest

PROGRAM = Path(__file__).with_name("registry_process.py")
ROUNDS = 40


@dataclass
class Process:
    """One of them, as the requests of these tests want it."""

    port: int


@pytest.fixture
def both(database_url: str, tmp_path: Path) -> Iterator[Sequence[Process]]:
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(2):
            child = subprocess.Popen(
                [sys.executable, str(PROGRAM), database_url, str(tmp_path)], stdout=subprocess.PIPE, text=True
            )
            stack.callback(child.wait, 30)
            stack.callback(child.terminate)
            assert child.stdout is not None
            stack.enter_context(child.stdout)
            found.append(Process(int(child.stdout.readline())))
        yield found


def image(at: Process, text: str) -> tuple[bytes, Descriptor]:
    """An image whose blobs were sent to one of the processes, and its layer."""
    config = put_blob(at, "owner/m", oci.render_config(Config(labels={"text": text})))  # type: ignore[arg-type]
    layer = put_blob(at, "owner/m", b"layer " + text.encode())  # type: ignore[arg-type]
    config = Descriptor(media_type=CONFIG, digest=config.digest, size=config.size)
    return oci.render(Manifest(config=config, layers=(layer,))), layer


def put(at: Process, tag: str, data: bytes) -> Reply:
    return put_manifest(at, f"/v2/owner/m/manifests/{tag}", data)  # type: ignore[arg-type]


def asked(at: Process, method: str, path: str) -> Reply:
    return ask(at, method, f"/v2/owner/m/{path}")  # type: ignore[arg-type]


def test_an_image_and_the_taking_away_of_its_layer_in_two_processes_leave_no_hole(both: Sequence[Process]) -> None:
    one, other = both
    outcomes = set()
    with ThreadPoolExecutor(2) as pool:
        for number in range(ROUNDS):
            data, layer = image(one, f"{number}")
            kept = pool.submit(put, one, f"t{number}", data)
            gone = pool.submit(asked, other, "DELETE", f"blobs/{layer.digest}")
            outcome = (kept.result().status, gone.result().status)
            outcomes.add(outcome)
            there = asked(other, "GET", f"blobs/{layer.digest}").status == 200
            assert there == (kept.result().status == 201), outcome
    # The image came first and kept its layer, or the layer was gone, and the image refused.
    assert outcomes <= {(201, 409), (404, 202)}


def test_tags_that_race_in_two_processes_end_at_one_of_the_images_and_all_are_there(both: Sequence[Process]) -> None:
    images = [image(at, f"racing {number}")[0] for number, at in zip(range(12), cycle(both), strict=False)]
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda each: put(each[0], "latest", each[1]), zip(cycle(both), images, strict=False)))
    assert [reply.status for reply in replies] == [201] * 12
    digests = {oci.digest_of(data) for data in images}
    for at in both:
        assert asked(at, "GET", "manifests/latest").headers["docker-content-digest"] in digests
        assert all(asked(at, "GET", f"manifests/{digest}").status == 200 for digest in digests)


def test_one_layer_is_pushed_to_both_at_once_and_an_upload_goes_on_in_the_other(both: Sequence[Process]) -> None:
    data = bytes(range(256)) * 4096
    with ThreadPoolExecutor(8) as pool:
        layers = list(pool.map(lambda at: put_blob(at, "owner/m", data), [*both] * 4))  # type: ignore[arg-type]
    one, other = both
    assert len({layer.digest for layer in layers}) == 1
    assert asked(one, "GET", f"blobs/{layers[0].digest}").body == data
    begun = asked(one, "POST", "blobs/uploads/").headers["location"]
    halves = data[: len(data) // 2 + 1], data[len(data) // 2 + 1 :]
    assert ask(one, "PATCH", begun, halves[0]).status == 202  # type: ignore[arg-type]
    path = f"{begun}?digest={oci.digest_of(data)}"
    assert ask(other, "PUT", path, halves[1]).status == 201  # type: ignore[arg-type]


def test_a_manifest_goes_while_an_index_that_names_it_comes_to_the_other(both: Sequence[Process]) -> None:
    one, other = both
    with ThreadPoolExecutor(2) as pool:
        for number in range(ROUNDS // 4):
            data, _ = image(one, f"part {number}")
            digest = oci.digest_of(data)
            assert put(one, digest, data).status == 201
            part = Descriptor(media_type=oci.MANIFEST, digest=digest, size=len(data), platform="linux/amd64")
            index = oci.render_index(oci.Index(manifests=(part,)))
            path = f"/v2/owner/m/manifests/index{number}"
            came = pool.submit(put_manifest, other, path, index, oci.INDEX)  # type: ignore[arg-type]
            gone = pool.submit(asked, one, "DELETE", f"manifests/{digest}")
            there = (came.result().status, gone.result().status)
            assert there in {(201, 409), (404, 202)}
            assert (asked(one, "GET", f"manifests/{digest}").status == 200) == (came.result().status == 201)
