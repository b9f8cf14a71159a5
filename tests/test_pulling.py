"""Tokens for one pull: what they open, for how long, and what they do not."""

from __future__ import annotations

import pytest

from modelyard import errors
from modelyard.accounts import Account, Actor
from modelyard.pulling import SECONDS, Puller, PullTokens

SOMEBODY = Actor(account=Account(id="a", username="a", name="a"), token_id="t")


class Clock:
    def __init__(self) -> None:
        self.us = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.us


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> PullTokens:
    return PullTokens(b"secret", clock)


def test_a_token_speaks_for_one_repository_until_its_hour_is_over(tokens: PullTokens, clock: Clock) -> None:
    token = tokens.make("yard/hello")
    puller = tokens.puller(token)
    assert puller is not None
    assert puller.repository == "yard/hello"
    clock.us += (SECONDS + 1) * 1_000_000
    assert tokens.puller(token) is None


def test_a_token_that_somebody_changed_or_made_up_speaks_for_nobody(tokens: PullTokens, clock: Clock) -> None:
    token = tokens.make("yard/hello")
    assert tokens.puller(token.replace("hello", "other")) is None
    assert tokens.puller(token.replace("pull:17", "pull:18")) is None
    assert tokens.puller(token[:-1]) is None
    assert tokens.puller(PullTokens(b"another", clock).make("yard/hello")) is None
    for text in ("", "pull", "pull:", "pull:x:y:z", "pull:²:y:z", "r8_" + "t" * 37):
        assert tokens.puller(text) is None


@pytest.mark.anyio
async def test_at_the_door_it_reads_its_repository_and_writes_nothing(tokens: PullTokens) -> None:
    async def nobody(header: bytes) -> Actor:
        raise errors.Unauthenticated

    async def anything(actor: Actor, repository: str) -> bool:
        return True

    actor = await tokens.known_to(nobody)(b"Bearer " + tokens.make("yard/hello").encode())
    assert isinstance(actor, Puller)
    assert await tokens.reading(anything)(actor, "yard/hello")
    assert not await tokens.reading(anything)(actor, "yard/other")
    assert not await tokens.writing(anything)(actor, "yard/hello")
    assert await tokens.reading(anything)(SOMEBODY, "yard/other")
    assert await tokens.writing(anything)(SOMEBODY, "yard/other")
    with pytest.raises(errors.Unauthenticated):
        await tokens.known_to(nobody)(b"Bearer r8_made_up")
