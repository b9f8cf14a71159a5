"""Blobs in a bucket keep the promises of those on a disk, on a real server that speaks S3; and what only they meet."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest
from blobs_suite import CONTENT, BlobsSuite, read, stat_of
from s3_server import BUCKET, KEY_ID, SECRET, S3Server

from modelyard import errors
from modelyard.blobs.base import Blobs
from modelyard.blobs.bucket import BucketError
from modelyard.blobs.s3 import IN_MEMORY, OWNER, PART, S3Blobs

_numbers = count()
LARGE = bytes(range(251)) * (2 * PART // 251 + 1)

PUT_A_LARGE_ONE = """
import asyncio, sys
from pathlib import Path
from modelyard.blobs.s3 import Bucket, S3Blobs

name, endpoint, key_id, secret = sys.argv[1:5]
bucket = Bucket(name=name, prefix="killed", endpoint=endpoint, in_path=True, key_id=key_id, secret=secret)
async def put():
    print("begins", flush=True)
    await S3Blobs(bucket, Path(sys.argv[5])).put("files/a", Path(sys.argv[6]))
    print("done", flush=True)
asyncio.run(put())
"""


@pytest.fixture
def blobs(s3: S3Server, tmp_path: Path) -> S3Blobs:
    return S3Blobs(s3.bucket(f"of/test-{next(_numbers)}"), tmp_path / "s3")


class TestS3(BlobsSuite):
    @pytest.fixture
    def blobs(self, s3: S3Server, tmp_path: Path) -> Blobs:
        return S3Blobs(s3.bucket(f"of/test-{next(_numbers)}"), tmp_path / "s3")


def waiting(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "s3" / "outgoing").rglob("*") if path.is_file()]


async def stream(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 1_000_000):
        yield content[start : start + 1_000_000]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["bytes", "stream", "file", "moved"])
async def test_what_needs_several_parts_arrives_whole(blobs: S3Blobs, tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source"
    source.write_bytes(LARGE)
    content = {"bytes": LARGE, "stream": stream(LARGE)}.get(kind, source)

    stat = await blobs.put("oci/sha256/a", content, move=kind == "moved")  # type: ignore[arg-type]

    assert stat == stat_of("oci/sha256/a", LARGE)
    assert await read(blobs, "oci/sha256/a") == LARGE
    assert await read(blobs, "oci/sha256/a", PART - 1, PART + 1) == LARGE[PART - 1 : PART + 1]
    assert not waiting(tmp_path)


@pytest.mark.anyio
async def test_a_file_of_an_input_is_brought_once_and_again_when_it_changed(blobs: S3Blobs, tmp_path: Path) -> None:
    await blobs.put("files/a", b"first")
    assert blobs.path("files/a") is None
    assert await blobs.place("files/b") is None
    place = await blobs.place("files/a")
    assert place is not None
    assert not place.exists()

    await asyncio.gather(blobs.bring(place), blobs.bring(place))
    assert place.read_bytes() == b"first"
    there = place.stat().st_ino
    await blobs.bring(place)
    assert place.stat().st_ino == there

    await blobs.put("files/a", b"second")
    await blobs.bring(place)
    assert place.read_bytes() == b"second"

    await blobs.delete("files/a")
    with pytest.raises(errors.NotFound):
        await blobs.bring(place)
    assert not waiting(tmp_path)


@pytest.mark.anyio
async def test_a_stream_that_breaks_off_late_has_sent_nothing(s3: S3Server, blobs: S3Blobs, tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(IN_MEMORY + 1)
        assert waiting(tmp_path)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await blobs.put("files/a", broken())

    assert not waiting(tmp_path)
    assert s3.objects(blobs.bucket.prefix) == []


@pytest.mark.anyio
async def test_what_was_deleted_while_it_was_held_goes_when_nobody_holds(s3: S3Server, blobs: S3Blobs) -> None:
    await blobs.put("outputs/a/0/x", b"x")
    await blobs.put("outputs/a/1/y", b"y")
    async with blobs.hold():
        await blobs.delete_below("outputs/a")
        assert await blobs.list("outputs") == []
        with pytest.raises(errors.NotFound):
            await blobs.open("outputs/a/0/x")
        assert len(s3.objects(blobs.bucket.prefix)) == 2

    assert s3.objects(blobs.bucket.prefix) == []


def test_nothing_is_seen_of_what_a_killed_process_put(s3: S3Server, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(bytes(200_000_000))
    arguments = [BUCKET, s3.url, KEY_ID, SECRET, str(tmp_path / "s3"), str(tmp_path / "source")]
    for moment in (0.05, 0.15, 0.3):
        with subprocess.Popen([sys.executable, "-c", PUT_A_LARGE_ONE, *arguments], stdout=subprocess.PIPE) as putting:
            assert putting.stdout is not None
            assert putting.stdout.readline() == b"begins\n"
            time.sleep(moment)
            putting.send_signal(signal.SIGKILL)
            ended = putting.stdout.read()

        async def look() -> int | None:
            blobs = S3Blobs(s3.bucket("killed"), tmp_path / "s3")
            blobs.discard_unfinished()
            stat = await blobs.stat("files/a")
            await blobs.delete("files/a")
            return None if stat is None else stat.size

        # Where it was quicker than the signal, all of it is there.
        assert asyncio.run(look()) in ((200_000_000,) if ended else (None, 200_000_000))
        assert not waiting(tmp_path)


@pytest.mark.anyio
async def test_a_bucket_belongs_to_one_yard(s3: S3Server, tmp_path: Path) -> None:
    place = s3.bucket(f"of/test-{next(_numbers)}")
    await S3Blobs(place, tmp_path / "one").claim("one")
    await S3Blobs(place, tmp_path / "one").claim("one")

    with pytest.raises(errors.Conflict, match="belongs to another yard"):
        await S3Blobs(place, tmp_path / "two").claim("two")

    assert s3.objects(place.prefix) == [OWNER]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("changed", "said", "setting"),
    [
        ({"name": "absent"}, "there is no bucket absent at http", "blobs"),
        ({"secret": "wrong"}, "refuses this yard: SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        ({"key_id": "wrong"}, "refuses this yard: InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        ({"endpoint": "http://127.0.0.1:9"}, "does not answer: ", "s3_endpoint"),
        ({"key_id": None, "secret": None}, "the bucket s3://yard", "AWS_SECRET_ACCESS_KEY are not set"),
    ],
)
async def test_a_bucket_that_cannot_be_used_is_refused_with_the_setting_to_look_at(
    s3: S3Server, tmp_path: Path, changed: dict[str, str | None], said: str, setting: str
) -> None:
    with pytest.raises(BucketError) as refused:
        await S3Blobs(s3.bucket(**changed), tmp_path / "s3").claim("one")

    assert said in refused.value.detail
    assert setting in (refused.value.hint or "")
    assert SECRET not in str(refused.value)


@pytest.mark.anyio
async def test_trouble_with_the_bucket_is_trouble_of_a_store(s3: S3Server, tmp_path: Path) -> None:
    gone = S3Blobs(s3.bucket(endpoint="http://127.0.0.1:9"), tmp_path / "s3")
    for attempt in (gone.put("files/a", CONTENT), gone.stat("files/a"), gone.open("files/a"), gone.list("files")):
        with pytest.raises(OSError, match="does not answer") as met:
            await attempt
        assert isinstance(met.value, errors.Unavailable)
