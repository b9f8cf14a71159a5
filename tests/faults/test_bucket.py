"""A yard that keeps its blobs in a bucket: everything that a yard does with bytes, on a real server that speaks S3."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import s3_server
from s3_server import S3Server

from modelyard.blobs.s3 import S3Blobs
from tests.faults.yard import Yard, free_port

_numbers = count()
COPY = """
from cog import BaseRunner, Path

class Runner(BaseRunner):
    def run(self, file: Path) -> Path:
        made = Path("made.txt")
        made.write_text("made of " + file.read_text())
        return made
"""


@pytest.fixture
def prefix() -> str:
    return f"yards/{next(_numbers)}"


@pytest.fixture
def in_bucket(make_yard: Callable[..., Yard], s3: S3Server, prefix: str) -> Yard:
    """A running yard with its blobs below `prefix`."""
    return make_yard(settings=s3.settings(prefix)).start()


def upload(yard: Yard, content: bytes) -> str:
    made = yard.http.post("/v1/files", files={"content": ("a.txt", content, "text/plain")})
    assert made.status_code == 201, made.text
    return str(made.json()["urls"]["get"])


def made_of(yard: Yard, version: str, file: str) -> str:
    done = yard.create(version, {"file": file}, prefer="wait=60")
    assert done["status"] == "succeeded", f"{done}\n{yard.log()}"
    return str(done["output"])


def test_a_push_a_file_in_and_a_file_out_go_through_the_bucket_alone(
    in_bucket: Yard, s3: S3Server, prefix: str
) -> None:
    version = in_bucket.push("copy", COPY)
    first = made_of(in_bucket, version, upload(in_bucket, b"mine"))
    assert in_bucket.http.get(first).text == "made of mine"
    assert in_bucket.http.get(first, headers={"range": "bytes=8-11"}).text == "mine"
    # An output is an input as well, and so is what came inside the request.
    second = made_of(in_bucket, version, first)
    assert in_bucket.http.get(second).text == "made of made of mine"
    third = made_of(in_bucket, version, "data:text/plain," + "x" * 10_000)
    assert in_bucket.http.get(third).text == "made of " + "x" * 10_000

    # What opens the bucket is the yard's alone.
    for pid in in_bucket.workers():
        assert s3_server.SECRET.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    kinds = {name.partition("/")[0] for name in s3.objects(prefix)}
    assert kinds == {".yard", "files", "oci", "outputs"}
    assert not [path for path in (in_bucket.data / "blobs").rglob("*") if path.is_file()]
    assert not [path for path in (in_bucket.data / "s3" / "outgoing").rglob("*") if path.is_file()]


def test_a_yard_that_lost_its_copies_finds_everything_in_its_bucket_again(in_bucket: Yard) -> None:
    version, file = in_bucket.push("copy", COPY), upload(in_bucket, b"kept")
    output = made_of(in_bucket, version, file)
    in_bucket.kill()
    # A worker would go on where it is, and be taken up.
    for pid in in_bucket.workers():
        os.killpg(pid, signal.SIGKILL)
    for folder in ("s3", "store"):
        shutil.rmtree(in_bucket.data / folder)

    in_bucket.start()

    assert in_bucket.http.get(output).text == "made of kept"
    assert in_bucket.http.get(made_of(in_bucket, version, file)).text == "made of kept"


def test_the_store_in_the_bucket_is_examined_and_cleared(
    in_bucket: Yard, s3: S3Server, prefix: str, tmp_path: Path
) -> None:
    version = in_bucket.push("copy", COPY)
    output = made_of(in_bucket, version, upload(in_bucket, b"old"))
    whole = in_bucket.command("doctor", "--store", "--deep")
    assert whole.returncode == 0, whole.stdout + whole.stderr

    listed = in_bucket.command("images")
    assert "yard/copy" in listed.stdout, listed.stderr

    pruned = in_bucket.command("prune", "--older-than", "0s")
    assert pruned.returncode == 0, pruned.stderr
    assert in_bucket.http.get(output).status_code in (404, 410)
    assert not [name for name in s3.objects(prefix) if name.startswith("outputs/")]

    layers = [name for name in s3.objects(prefix) if name.startswith("oci/")]
    asyncio.run(lose(s3, prefix, max(layers), tmp_path))
    damaged = in_bucket.command("doctor", "--store")
    assert damaged.returncode == 1
    assert max(layers).rpartition("/")[2][:12] in damaged.stdout + damaged.stderr


def test_the_layers_of_a_deleted_version_go_from_the_bucket(make_yard: Callable[..., Yard], tmp_path: Path) -> None:
    server = s3_server.make(tmp_path / "own")
    yard = make_yard(settings=server.settings())
    with server.running():
        version = yard.start().push("copy", COPY)
        kept = yard.push("kept", COPY + "# and kept")
        assert yard.http.delete(f"/v1/models/yard/copy/versions/{version}").status_code in (202, 204)
        assert yard.stop() == 0
    # As if two days had gone by; a server that runs would not look at its files again.
    then = time.time() - 2 * 86400
    for name in (layers := server.objects()):
        os.utime(server.folder / s3_server.BUCKET / name, (then, then))
    with server.running():
        yard.start()
        pruned = yard.command("prune", "--unused", "0")
        assert pruned.returncode == 0, pruned.stderr
        left = server.objects()
        assert f"oci/sha256/{version}" in set(layers) - set(left), pruned.stderr
        assert f"oci/sha256/{kept}" in left
        assert yard.command("doctor", "--store", "--deep").returncode == 0
        assert yard.http.get(made_of(yard, kept, upload(yard, b"still"))).text == "made of still"


async def lose(s3: S3Server, prefix: str, key: str, folder: Path) -> None:
    """Delete an object past the yard, as somebody with the bucket's console might."""
    await S3Blobs(s3.bucket(prefix), folder / "past").delete(key)


def test_a_yard_that_is_told_of_a_bucket_moves_there_and_back_by_a_backup(
    make_yard: Callable[..., Yard], s3: S3Server, prefix: str
) -> None:
    on_disk = make_yard().start()
    version, file = on_disk.push("copy", COPY), upload(on_disk, b"moved")
    output = made_of(on_disk, version, file)
    assert on_disk.stop() == 0

    (on_disk.data / "blobs" / ".unfinished" / "half").write_bytes(b"what a killed yard left")
    on_disk.environment |= s3.settings(prefix)
    on_disk.start()
    assert "Moving " in on_disk.log()
    assert on_disk.http.get(output).text == "made of moved"
    assert on_disk.http.get(made_of(on_disk, version, file)).text == "made of moved"
    assert not [path for path in (on_disk.data / "blobs").rglob("*") if path.is_file()]
    backed_up = on_disk.command("backup", "yard.tar")
    assert backed_up.returncode == 0, backed_up.stderr
    assert on_disk.stop() == 0
    down = on_disk.command("backup", "--data", str(on_disk.data), "down.tar")
    assert down.returncode == 0, down.stderr

    for name, settings in (("disk", {}), ("bucket", s3.settings(f"{prefix}/again"))):
        again = make_yard(name, settings=settings)
        restored = again.command("restore", "--data", str(again.data), str(on_disk.folder / "yard.tar"))
        assert restored.returncode == 0, restored.stderr
        again.start()
        assert again.http.get("/outputs/" + output.partition("/outputs/")[2]).text == "made of moved"


def test_a_move_that_was_killed_goes_on_with_the_next_start(
    make_yard: Callable[..., Yard], s3: S3Server, prefix: str
) -> None:
    yard = make_yard().start()
    for number in range(200):
        upload(yard, f"file {number}".encode())
    assert yard.stop() == 0
    yard.environment |= s3.settings(prefix)
    for wanted in (1, 60):
        yard.launch()
        deadline = time.monotonic() + 60
        while len(s3.objects(f"{prefix}/files")) < wanted and time.monotonic() < deadline:
            time.sleep(0.001)
        yard.kill()

    yard.start()

    moved = [
        (s3.folder / s3_server.BUCKET / prefix / name).read_text() for name in s3.objects(prefix) if name != ".yard"
    ]
    assert sorted(moved) == sorted(f"file {number}" for number in range(200))
    assert not [path for path in (yard.data / "blobs").rglob("*") if path.is_file()]


def test_a_bucket_that_goes_away_fails_what_needs_it_and_comes_back(
    make_yard: Callable[..., Yard], tmp_path: Path
) -> None:
    server = s3_server.make(tmp_path / "own")
    with server.running():
        yard = make_yard(settings=server.settings()).start()
        version, file = yard.push("copy", COPY), upload(yard, b"there")
        made_of(yard, version, file)
    refused = yard.http.post("/v1/files", files={"content": ("a.txt", b"x", "text/plain")})
    assert refused.status_code == 503
    assert "does not answer" in refused.json()["detail"]
    with server.running():
        assert yard.http.get(made_of(yard, version, file)).text == "made of there"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"MODELYARD_BLOBS": "s3://absent"}, "there is no bucket absent at "),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not"),
        ({"MODELYARD_S3_ENDPOINT": f"http://127.0.0.1:{free_port()}"}, "s3_endpoint"),
        ({"MODELYARD_BLOBS": "s3://Not A Bucket"}, "MODELYARD_BLOBS is 's3://Not A Bucket'; wanted: "),
    ],
)
def test_a_yard_does_not_start_with_a_bucket_that_it_cannot_use_and_says_why(
    make_yard: Callable[..., Yard], s3: S3Server, changed: dict[str, str], said: str
) -> None:
    began = time.monotonic()
    yard = make_yard(settings={**s3.settings("yards/wrong"), **changed})
    process = yard.launch()
    assert process.wait(60) != 0
    assert time.monotonic() - began < 60
    assert said in yard.log()
    assert "Traceback" not in yard.log()


def test_two_yards_do_not_share_a_prefix(
    in_bucket: Yard, make_yard: Callable[..., Yard], s3: S3Server, prefix: str
) -> None:
    other = make_yard("other", settings=s3.settings(prefix))
    assert other.launch().wait(60) != 0
    assert "belongs to another yard" in other.log()
