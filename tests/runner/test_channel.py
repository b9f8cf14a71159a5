"""A channel over a real Unix socket."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelyard_runner import frames, protocol
from modelyard_runner.channel import TOGETHER, Channel

pytestmark = pytest.mark.anyio


class Link:
    """Both ends: the channel, and a plain stream where the worker would be."""

    def __init__(self) -> None:
        self.chunks: list[list[frames.Frame]] = []
        self.closed: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.channel: Channel | None = None

    def make(self) -> Channel:
        self.channel = Channel(lambda _, received: self.chunks.append(received), lambda _, e: self.closed.set_result(e))
        return self.channel

    async def open(self, folder: Path) -> None:
        self.server = await asyncio.get_running_loop().create_unix_server(self.make, str(folder / "s"))
        self.reader, self.writer = await asyncio.open_unix_connection(str(folder / "s"))
        while self.channel is None:
            await asyncio.sleep(0)

    async def read(self) -> list[protocol.Frame]:
        return protocol.Decoder().feed(await asyncio.wait_for(self.reader.read(1 << 20), 10))

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while sum(map(len, self.chunks)) < count:
                await asyncio.sleep(0.001)


@pytest.fixture
async def link(tmp_path: Path) -> AsyncIterator[Link]:
    one = Link()
    await one.open(tmp_path)
    yield one
    one.writer.close()
    one.server.close()


async def test_frames_that_come_together_are_handed_on_together(link: Link) -> None:
    link.writer.write(b"".join(protocol.encode({"kind": "started", "id": f"p{n}"}) for n in range(5)))
    await link.until(5)
    assert [[frame.id for frame in chunk] for chunk in link.chunks] == [["p0", "p1", "p2", "p3", "p4"]]  # type: ignore[union-attr]


async def test_a_frame_in_pieces_is_put_together(link: Link) -> None:
    data = protocol.encode({"kind": "failed", "id": "p", "error": "x" * 1000})
    for start in range(0, len(data), 100):
        link.writer.write(data[start : start + 100])
        await asyncio.sleep(0.001)
    await link.until(1)
    assert link.chunks == [[frames.Failed(id="p", error="x" * 1000)]]


async def test_what_is_sent_in_one_turn_leaves_in_one_write(link: Link) -> None:
    assert link.channel is not None
    link.channel.send({"kind": "cancel", "id": "a"})
    link.channel.send_raw(b'{"kind":"cancel","id":"b"}')
    assert [frame["id"] for frame in await link.read()] == ["a", "b"]


async def test_many_frames_begin_to_leave_before_the_turn_is_over(link: Link) -> None:
    assert link.channel is not None
    for number in range(TOGETHER + 1):
        link.channel.send({"kind": "cancel", "id": f"p{number}"})
    there = os.read(link.writer.get_extra_info("socket").fileno(), 1 << 20)  # the loop has had no turn since
    assert len(protocol.Decoder().feed(there)) == TOGETHER
    assert [frame["id"] for frame in await link.read()] == [f"p{TOGETHER}"]


async def test_a_paused_channel_hears_nothing_until_it_is_resumed(link: Link) -> None:
    assert link.channel is not None
    link.channel.pause()
    link.writer.write(protocol.encode({"kind": "started", "id": "p"}))
    await asyncio.sleep(0.05)
    assert link.chunks == []
    link.channel.resume()
    await link.until(1)


async def test_bytes_that_are_no_frames_end_the_link(link: Link) -> None:
    link.writer.write(b"\xff\xff\xff\xff")
    assert await asyncio.wait_for(link.reader.read(), 10) == b""
    await asyncio.wait_for(link.closed, 10)


async def test_what_was_sent_before_closing_still_leaves(link: Link) -> None:
    assert link.channel is not None
    link.channel.send({"kind": "shutdown", "grace": 0})
    link.channel.close()
    assert [frame["kind"] for frame in await link.read()] == ["shutdown"]
    await asyncio.wait_for(link.closed, 10)
    link.channel.send({"kind": "cancel", "id": "too late"})
