"""Which items and pieces of log leave one by one, and which share a frame, told by a clock that stands still."""

from __future__ import annotations

import json
import math
import socket
from pathlib import Path

import pytest

from modelyard_runner import protocol
from modelyard_runner.link import AT_ONCE, AT_ONCE_AGAIN, Link

COUNT = 20_000


class Posted:
    """A link and who listens at its other end; `now` moves when somebody moves it."""

    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(f"{folder}/s")
        listener.listen()
        self.link = Link(f"unix:{folder}/s", "token", keeper=None, clock=lambda: self.now)
        assert self.link.dial(5)
        self._other, _ = listener.accept()
        listener.close()
        self._decoder = protocol.Decoder(json.loads)
        assert self.frames()[0]["kind"] == "hello"

    def frames(self) -> list[protocol.Frame]:
        """What has come since."""
        self._other.settimeout(5)
        found: list[protocol.Frame] = []
        while True:
            try:
                data = self._other.recv(1 << 20)
            except BlockingIOError:
                return found
            found += self._decoder.feed(data)
            self._other.setblocking(False)


@pytest.fixture
def posted(tmp_path: Path) -> Posted:
    return Posted(tmp_path)


def test_some_items_leave_at_once_and_those_that_wait_share_frames(posted: Posted) -> None:
    for index in range(COUNT):
        posted.link.post_item("p1", '"p1"', index, str(index))
    posted.link.flush()
    frames = posted.frames()
    assert [item for frame in frames for item in frame["values"]] == list(range(COUNT))
    assert [len(frame["values"]) for frame in frames[:AT_ONCE]] == [1] * AT_ONCE
    assert len(frames) == AT_ONCE + math.ceil((COUNT - AT_ONCE) / protocol.MAX_BATCH_ITEMS)


def test_as_time_goes_by_more_may_leave_at_once(posted: Posted) -> None:
    for _ in range(COUNT):
        posted.link.post_log("p1", "stdout", "x\n")
    posted.link.flush()
    assert len(posted.frames()) == AT_ONCE + 1
    posted.now += 4.5 / AT_ONCE_AGAIN
    for _ in range(COUNT):
        posted.link.post_log("p1", "stdout", "x\n")
    posted.link.flush()
    assert len(posted.frames()) == 4 + 1
