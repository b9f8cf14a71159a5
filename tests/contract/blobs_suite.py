"""What every blob store promises; a subclass says which one is tested, by its fixture `blobs`."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelyard import errors
from modelyard.blobs.base import Blobs, Stat

CONTENT = bytes(range(256)) * 5_000


async def pieces(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def read(blobs: Blobs, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([piece async for piece in await blobs.open(key, start, end)])


def stat_of(key: str, content: bytes) -> Stat:
    return Stat(
        key=key,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
    )


class BlobsSuite:
    pytestmark = pytest.mark.anyio

    @pytest.mark.parametrize("content", [b"", b"x", CONTENT])
    async def test_bytes_are_kept_and_measured(self, blobs: Blobs, content: bytes) -> None:
        assert await blobs.put("files/a", content) == stat_of("files/a", content)

        assert await read(blobs, "files/a") == content

    @pytest.mark.parametrize("size", [1_000, 700_000, 3_000_000])
    async def test_a_stream_is_kept_and_measured(self, blobs: Blobs, size: int) -> None:
        assert await blobs.put("files/a", pieces(CONTENT, size)) == stat_of("files/a", CONTENT)

        assert await read(blobs, "files/a") == CONTENT

    @pytest.mark.parametrize("move", [False, True])
    async def test_a_file_is_kept_and_measured(self, blobs: Blobs, tmp_path: Path, move: bool) -> None:
        source = tmp_path / "source"
        source.write_bytes(CONTENT)

        assert await blobs.put("files/a", source, move=move) == stat_of("files/a", CONTENT)

        assert await read(blobs, "files/a") == CONTENT
        assert source.exists() is not move

    async def test_what_becomes_of_a_copied_file_does_not_matter(self, blobs: Blobs, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.write_bytes(b"before")
        await blobs.put("files/a", source)

        source.write_bytes(b"after!")

        assert await read(blobs, "files/a") == b"before"

    @pytest.mark.parametrize(
        ("start", "end"), [(0, 1), (0, 0), (5, 5), (10, 400_000), (1_279_999, None), (0, 10**9), (10**9, None), (7, 3)]
    )
    async def test_a_part_is_read_as_a_slice_would_be(self, blobs: Blobs, start: int, end: int | None) -> None:
        await blobs.put("files/a", CONTENT)

        assert await read(blobs, "files/a", start, end) == CONTENT[start:end]

    async def test_the_size_is_known_without_reading(self, blobs: Blobs) -> None:
        await blobs.put("files/a", b"four")

        stat = await blobs.stat("files/a")

        assert stat is not None
        assert (stat.key, stat.size) == ("files/a", 4)
        assert await blobs.stat("files/b") is None
        assert await blobs.stat("files") is None

    async def test_what_is_not_there_is_not_found_before_the_first_piece(self, blobs: Blobs) -> None:
        await blobs.put("files/a", b"x")

        for key in ("absent", "files", "files/a/b"):
            with pytest.raises(errors.NotFound, match=key):
                await blobs.open(key)

    async def test_a_put_takes_the_place_of_what_was_there(self, blobs: Blobs) -> None:
        await blobs.put("files/a", b"first")
        reading = await blobs.open("files/a")

        await blobs.put("files/a", b"second")

        assert await read(blobs, "files/a") == b"second"
        assert b"".join([piece async for piece in reading]) == b"first"

    async def test_what_was_opened_is_read_to_its_end_though_it_is_deleted(self, blobs: Blobs) -> None:
        await blobs.put("files/a", CONTENT)
        reading = await blobs.open("files/a")

        await blobs.delete("files/a")

        assert b"".join([piece async for piece in reading]) == CONTENT
        assert await blobs.stat("files/a") is None

    async def test_what_is_held_can_be_read_though_it_is_deleted(self, blobs: Blobs) -> None:
        await blobs.put("files/a", b"kept")
        async with blobs.hold() as held:
            await blobs.delete("files/a")
            assert await blobs.stat("files/a") is None
            assert await held.stat("files/a") == Stat(key="files/a", size=4)
            assert b"".join([piece async for piece in await held.open("files/a")]) == b"kept"

        async with blobs.hold() as held:
            assert await held.stat("files/a") is None
            with pytest.raises(errors.NotFound):
                await held.open("files/a")

    async def test_what_is_put_again_while_it_is_held_stays(self, blobs: Blobs) -> None:
        await blobs.put("files/a", b"first")
        async with blobs.hold() as outer:
            async with blobs.hold():
                await blobs.delete("files/a")
                await blobs.put("files/a", b"second")
            assert b"".join([piece async for piece in await outer.open("files/a")]) == b"second"

        assert await read(blobs, "files/a") == b"second"

    async def test_deleting_what_is_not_there_does_nothing(self, blobs: Blobs) -> None:
        await blobs.delete("files/a")
        await blobs.put("files/a", b"x")

        await blobs.delete("files/a")
        await blobs.delete("files/a")
        await blobs.delete("files/a/b")

        assert await blobs.stat("files/a") is None

    async def test_a_list_has_every_blob_below_its_prefixes_and_no_other(self, blobs: Blobs) -> None:
        for key in ("outputs/a/0/x", "outputs/a/1/y", "outputs/ab/0/x", "outputs/b/0/x", "outputs/c"):
            await blobs.put(key, key.encode())

        found = await blobs.list("outputs/c", "outputs/a", "outputs/absent", "outputs/b/0/x/deeper")

        assert [(listed.key, listed.size) for listed in found] == [
            ("outputs/c", 9),
            ("outputs/a/0/x", 13),
            ("outputs/a/1/y", 13),
        ]
        assert [listed.key for listed in await blobs.list("outputs")] == sorted(
            ["outputs/a/0/x", "outputs/a/1/y", "outputs/ab/0/x", "outputs/b/0/x", "outputs/c"]
        )
        assert all(listed.modified > 1_600_000_000_000_000 for listed in found)

    async def test_all_below_a_prefix_is_deleted_at_once(self, blobs: Blobs) -> None:
        for key in ("outputs/a/0/x", "outputs/a/1/y", "outputs/ab/0/x"):
            await blobs.put(key, b"x")
        reading = await blobs.open("outputs/a/0/x")

        await blobs.delete_below("outputs/a")
        await blobs.delete_below("outputs/a")
        await blobs.delete_below("outputs/ab/0/x/deeper")

        assert [listed.key for listed in await blobs.list("outputs")] == ["outputs/ab/0/x"]
        assert b"".join([piece async for piece in reading]) == b"x"
        await blobs.put("outputs/a/0/x", b"again")
        assert await read(blobs, "outputs/a/0/x") == b"again"

    async def test_a_stream_that_fails_leaves_nothing_and_keeps_what_was_there(self, blobs: Blobs) -> None:
        await blobs.put("files/a", b"before")

        async def broken() -> AsyncIterator[bytes]:
            yield CONTENT
            raise ZeroDivisionError("the caller went away")

        for key in ("files/a", "files/b"):
            with pytest.raises(ZeroDivisionError):
                await blobs.put(key, broken())

        assert await read(blobs, "files/a") == b"before"
        assert await blobs.stat("files/b") is None

    async def test_a_blob_is_not_seen_before_it_is_whole(self, blobs: Blobs) -> None:
        halfway, go_on = asyncio.Event(), asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield CONTENT
            halfway.set()
            await go_on.wait()
            yield b"the end"

        putting = asyncio.create_task(blobs.put("files/a", slow()))
        await halfway.wait()
        assert await blobs.stat("files/a") is None
        go_on.set()
        await putting

        assert await read(blobs, "files/a") == CONTENT + b"the end"

    async def test_names_of_outputs_may_be_of_any_language(self, blobs: Blobs) -> None:
        key = "outputs/01abc/0/Käse & 中文 (1).png"

        await blobs.put(key, b"x")

        assert await read(blobs, key) == b"x"

    @pytest.mark.parametrize(
        "key",
        [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../a",
            "files/../../a",
            "files/./a",
            "files//a",
            "files/",
            "files/.hidden",
            "files\\..\\a",
            "files/a\0b",
            "files/a\nb",
            "files/" + "a" * 256,
            "a/" * 600 + "a",
            "files/\ud800",
        ],
    )
    async def test_a_key_that_could_lead_elsewhere_is_refused(self, blobs: Blobs, key: str) -> None:
        with pytest.raises(errors.BadRequest, match="is not a key"):
            await blobs.put(key, b"x")
        with pytest.raises(errors.BadRequest):
            await blobs.open(key)
        with pytest.raises(errors.BadRequest):
            await blobs.stat(key)
        with pytest.raises(errors.BadRequest):
            await blobs.delete(key)
        with pytest.raises(errors.BadRequest):
            blobs.path(key)
        with pytest.raises(errors.BadRequest):
            await blobs.list(key)
        with pytest.raises(errors.BadRequest):
            await blobs.delete_below(key)

    async def test_many_puts_and_deletes_beside_each_other(self, blobs: Blobs) -> None:
        async def come_and_go(number: int) -> None:
            for _ in range(20):
                await blobs.put(f"outputs/same/{number}/name", b"x")
                await blobs.delete(f"outputs/same/{number}/name")
            await blobs.put(f"outputs/same/{number}/name", b"stays")

        await asyncio.gather(*(come_and_go(number) for number in range(8)))

        for number in range(8):
            assert await read(blobs, f"outputs/same/{number}/name") == b"stays"
