"""Topics: who is told, when, and what remains."""

from __future__ import annotations

import asyncio

import pytest

from modelyard.events import Topics

pytestmark = pytest.mark.anyio


async def test_followers_are_called_in_the_order_in_which_they_came() -> None:
    topics, told = Topics(), []
    topics.follow("a", lambda: told.append(1))
    topics.follow("a", lambda: told.append(2))
    topics.follow("b", lambda: told.append(3))

    topics.publish("a")

    assert told == [1, 2]


async def test_who_unfollows_hears_nothing_more_and_leaves_nothing() -> None:
    topics, told = Topics(), []
    unfollow = topics.follow("a", lambda: told.append(1))

    unfollow()
    unfollow()
    topics.publish("a")

    assert told == []
    assert len(topics) == 0


async def test_a_follower_may_unfollow_while_it_is_told() -> None:
    topics, told = Topics(), []

    def once() -> None:
        told.append("once")
        unfollow()

    unfollow = topics.follow("a", once)
    topics.follow("a", lambda: told.append("always"))

    topics.publish("a")
    topics.publish("a")

    assert told == ["once", "always", "always"]


async def test_a_follower_that_fails_keeps_the_news_from_nobody(caplog: pytest.LogCaptureFixture) -> None:
    topics, told = Topics(), []
    topics.follow("a", lambda: 1 / 0)
    topics.follow("a", lambda: told.append(1))

    topics.publish("a")

    assert told == [1]
    assert "a follower of a failed" in caplog.text


async def test_waiting_ends_with_the_next_publish() -> None:
    topics = Topics()
    waiting = asyncio.create_task(topics.wait("a", timeout=30))
    await asyncio.sleep(0)

    topics.publish("a")

    assert await waiting is True
    assert len(topics) == 0


async def test_waiting_ends_without_news() -> None:
    topics = Topics()

    assert await topics.wait("a", timeout=0.01) is False
    assert len(topics) == 0


async def test_a_wait_that_is_cancelled_leaves_nothing() -> None:
    topics = Topics()
    waiting = asyncio.create_task(topics.wait("a"))
    await asyncio.sleep(0)

    waiting.cancel()
    await asyncio.wait([waiting])

    assert len(topics) == 0
