from __future__ import annotations

import pytest

from modelyard import errors
from modelyard.accounts import REMEMBERED_SECONDS, Accounts
from modelyard.auth import Authenticator, token_of
from modelyard.db.base import Database
from modelyard.sessions import Sessions

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.now


async def test_a_token_speaks_for_its_account(db: Database) -> None:
    accounts = Accounts(db, Clock())
    made = await accounts.create("ada", "Ada Lovelace")
    token = await accounts.create_token(made.id, "laptop")
    actor = await accounts.actor_of(token)
    assert actor is not None
    assert actor.account == made
    assert await accounts.get(made.id) == await accounts.by_username("ada") == made
    assert await accounts.actor_of(token[:-1] + "-") is None
    assert await accounts.get("nobody") is None
    assert [(one.name, one.disabled_at) for one in await accounts.tokens(made.id)] == [("laptop", None)]


async def test_a_username_is_taken_once(db: Database) -> None:
    accounts = Accounts(db, Clock())
    await accounts.create("ada")
    with pytest.raises(errors.Conflict):
        await accounts.create("ada")


async def test_the_account_of_the_first_start_operates_the_yard(db: Database) -> None:
    clock = Clock()
    accounts = Accounts(db, clock)
    first = await accounts.create("zoe")
    clock.now += 1
    second = await accounts.create("ada")
    assert await accounts.operates(first)
    assert not await accounts.operates(second)


async def test_a_known_token_is_kept_as_its_hash_alone(db: Database) -> None:
    accounts = Accounts(db, Clock())
    made = await accounts.create("ada")
    token = "r8_" + "x" * 37
    assert await accounts.create_token(made.id, "ci", token) == token
    with pytest.raises(errors.Conflict):
        await accounts.create_token(made.id, "again", token)


async def test_each_account_signs_with_secrets_of_its_own(db: Database) -> None:
    accounts = Accounts(db, Clock())
    ada, bob = await accounts.create("ada"), await accounts.create("bob")
    secrets = {await accounts.webhook_secret(one.id) for one in (ada, bob)}
    secrets |= {await accounts.files_secret(one.id) for one in (ada, bob)}
    assert len(secrets) == 4
    assert all(secret.startswith("whsec_") for secret in secrets)
    with pytest.raises(errors.NotFound):
        await accounts.webhook_secret("nobody")


async def test_a_disabled_token_ends_at_once_also_where_it_was_remembered(db: Database) -> None:
    clock = Clock()
    accounts = Accounts(db, clock)
    auth = Authenticator(accounts, Sessions(db, accounts, clock), clock)
    made = await accounts.create("ada")
    token = await accounts.create_token(made.id, "laptop")
    header = f"Bearer {token}".encode()
    actor = await auth.actor(header)
    assert auth.peek(header) == actor
    await accounts.disable_token(made.id, actor.token_id)
    assert auth.peek(header) is None
    with pytest.raises(errors.Unauthenticated):
        await auth.actor(header)
    with pytest.raises(errors.NotFound):
        await accounts.disable_token(made.id, actor.token_id)


async def test_nobody_ends_anothers_token(db: Database) -> None:
    accounts = Accounts(db, Clock())
    ada, bob = await accounts.create("ada"), await accounts.create("bob")
    await accounts.create_token(ada.id, "laptop")
    (token,) = await accounts.tokens(ada.id)
    with pytest.raises(errors.NotFound):
        await accounts.disable_token(bob.id, token.id)


async def test_a_header_is_remembered_for_a_while_only(db: Database) -> None:
    clock = Clock()
    accounts = Accounts(db, clock)
    auth = Authenticator(accounts, Sessions(db, accounts, clock), clock)
    made = await accounts.create("ada")
    header = b"Token " + (await accounts.create_token(made.id, "laptop")).encode()
    await auth.actor(header)
    clock.now += 2 * REMEMBERED_SECONDS * 1_000_000
    assert auth.peek(header) is None
    assert (await auth.actor(header)).account == made


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (b"Bearer abc", "abc"),
        (b"token   abc ", "abc"),
        (b"BEARER abc", "abc"),
        (b"abc", None),
        (b"Bearer", None),
        (b"Bearer ", None),
        (b"Basic abc", None),
        (b"\xff\xfe", None),
    ],
)
async def test_how_a_header_is_read(header: bytes, token: str | None) -> None:
    assert token_of(header) == token
