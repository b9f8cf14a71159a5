"""What is about to be used is not taken away, and what is being taken away is waited for."""

from __future__ import annotations

import asyncio

import pytest

from modelyard.uses import Uses

pytestmark = pytest.mark.anyio


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_what_was_used_since_is_not_taken() -> None:
    uses = Uses(600)
    began = now()
    await uses.using("a", "b")

    assert not uses.take("a", began)
    assert uses.take("a", now() + 1)
    assert uses.take("c", began)


async def test_a_thing_is_taken_once() -> None:
    uses = Uses(600)

    assert uses.take("a", now())
    assert not uses.take("a", now())
    uses.gone("a")
    assert uses.take("a", now())


async def test_who_wants_what_is_being_taken_waits_until_it_is_gone() -> None:
    uses = Uses(600)
    uses.take("a", now())
    waiting = [asyncio.create_task(uses.using("b", "a")) for _ in range(3)]
    waiting[0].cancel()
    await asyncio.sleep(0.01)

    assert not waiting[1].done()
    uses.gone("a")
    await asyncio.gather(*waiting[1:])
    assert not uses.take("a", 0.0)


async def test_others_do_not_wait() -> None:
    uses = Uses(600)
    uses.take("a", now())

    await asyncio.wait_for(uses.using("b"), 5)


async def test_old_uses_are_forgotten() -> None:
    uses = Uses(0.01)
    await uses.using("a")
    await asyncio.sleep(0.03)
    await uses.using("b")

    assert not uses.used("a", 0.0)
    assert uses.used("b", 0.0)
