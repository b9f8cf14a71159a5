"""Links that sign a browser in, once, and the sessions that come of them, on both databases."""

from __future__ import annotations

import asyncio

import pytest

from modelyard import ids
from modelyard.accounts import Accounts
from modelyard.db.base import Database, Statement
from modelyard.sessions import LINK_SECONDS, SESSION_SECONDS, Sessions


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000_000_000

    def __call__(self) -> int:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += int(seconds * 1_000_000)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(db: Database, clock: Clock) -> Sessions:
    return Sessions(db, Accounts(db, clock), clock)


@pytest.fixture
async def account_id(db: Database, clock: Clock) -> str:
    return (await Accounts(db, clock).create("maker", "Maker")).id


async def test_a_link_signs_in_once(sessions: Sessions, account_id: str) -> None:
    link = await sessions.create_link(account_id)
    session = await sessions.use_link(link)
    assert session is not None
    account = await sessions.account_of(session)
    assert account is not None
    assert account.id == account_id
    assert await sessions.use_link(link) is None


async def test_of_many_browsers_with_one_link_one_is_signed_in(sessions: Sessions, account_id: str) -> None:
    link = await sessions.create_link(account_id)
    came = await asyncio.gather(*(sessions.use_link(link) for _ in range(20)))
    assert sum(session is not None for session in came) == 1


async def test_a_link_is_good_for_a_while(sessions: Sessions, account_id: str, clock: Clock) -> None:
    early, late = await sessions.create_link(account_id), await sessions.create_link(account_id)
    clock.pass_seconds(LINK_SECONDS - 1)
    assert await sessions.use_link(early) is not None
    clock.pass_seconds(1)
    assert await sessions.use_link(late) is None


async def test_a_session_ends_by_itself_and_by_hand(sessions: Sessions, account_id: str, clock: Clock) -> None:
    forgotten: list[bool] = []
    sessions.on_forget.append(lambda: forgotten.append(True))
    one, other = await sessions.begin(account_id), await sessions.begin(account_id)
    await sessions.end(one)
    assert forgotten
    assert await sessions.account_of(one) is None
    assert await sessions.account_of(other) is not None
    clock.pass_seconds(SESSION_SECONDS)
    assert await sessions.account_of(other) is None


@pytest.mark.parametrize("value", ["", "nonsense", "é" * 40, "x" * 10_000, "a\0b"])
async def test_what_was_never_given_out_opens_nothing(sessions: Sessions, value: str) -> None:
    assert await sessions.use_link(value) is None
    assert await sessions.account_of(value) is None
    await sessions.end(value)


async def test_neither_links_nor_sessions_are_kept_as_they_are(
    db: Database, sessions: Sessions, account_id: str
) -> None:
    link = await sessions.create_link(account_id)
    session = await sessions.begin(account_id)
    links = await db.all(Statement("all_links", "SELECT hash FROM login_links"))
    kept = await db.all(Statement("all_sessions", "SELECT hash FROM sessions"))
    assert [row["hash"] for row in links] == [ids.token_hash(link)]
    assert [row["hash"] for row in kept] == [ids.token_hash(session)]
    assert link not in str(links)


async def test_what_is_over_is_cleared_away(db: Database, sessions: Sessions, account_id: str, clock: Clock) -> None:
    await sessions.create_link(account_id)
    await sessions.begin(account_id)
    clock.pass_seconds(SESSION_SECONDS + 1)
    await sessions.create_link(account_id)
    await sessions.begin(account_id)
    for table in ("login_links", "sessions"):
        assert len(await db.all(Statement(f"count_{table}", f"SELECT hash FROM {table}"))) == 1
