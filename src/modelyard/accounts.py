"""Who uses the yard: accounts, their tokens, and whom a token speaks for.

A token is kept as its hash. Whom it speaks for is remembered in memory for `REMEMBERED_SECONDS` and forgotten at once,
on every node, when a token is disabled.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

from modelyard import errors, ids
from modelyard.db.base import Database, Row, Statement

AccountType = Literal["user", "organization"]

REMEMBERED_SECONDS = 60
REMEMBERED_TOKENS = 10_000
_TOPIC = "tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A person or an organization that owns models, predictions and files."""

    id: str
    username: str
    name: str
    type: AccountType = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who makes a request: an account, through one of its tokens (`api`) or a signed-in browser (`web`: no token)."""

    account: Account
    token_id: str
    source: Literal["api", "web"] = "api"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is known of a token; the token itself is shown once, when it is made. Times in microseconds."""

    id: str
    account_id: str
    name: str
    created_at: int
    disabled_at: int | None


_INSERT = Statement(
    "insert_account",
    "INSERT INTO accounts (id, username, name, type, created_at, webhook_secret, files_secret)"
    " VALUES (:id, :username, :name, :type, :created_at, :webhook_secret, :files_secret)",
)
_GET = Statement("get_account", "SELECT id, username, name, type FROM accounts WHERE id = :id")
_BY_USERNAME = Statement(
    "account_by_username", "SELECT id, username, name, type FROM accounts WHERE username = :username"
)
_FIRST = Statement("first_account", "SELECT id FROM accounts ORDER BY created_at, id LIMIT 1")
_SECRETS = Statement("account_secrets", "SELECT webhook_secret, files_secret FROM accounts WHERE id = :id")
_INSERT_TOKEN = Statement(
    "insert_token",
    "INSERT INTO tokens (id, account_id, name, hash, created_at, disabled_at)"
    " VALUES (:id, :account_id, :name, :hash, :created_at, NULL)",
)
_ACTOR = Statement(
    "actor_of_token",
    "SELECT a.id, a.username, a.name, a.type, t.id AS token_id FROM tokens t JOIN accounts a ON a.id = t.account_id"
    " WHERE t.hash = :hash AND t.disabled_at IS NULL",
)
_TOKENS = Statement(
    "list_tokens",
    "SELECT id, account_id, name, created_at, disabled_at FROM tokens WHERE account_id = :account_id"
    " ORDER BY created_at, id",
)
_DISABLE = Statement(
    "disable_token",
    "UPDATE tokens SET disabled_at = :disabled_at WHERE id = :id AND account_id = :account_id AND disabled_at IS NULL",
    by_key=True,
)


def _account(row: Row) -> Account:
    kind = cast(AccountType, row["type"])
    return Account(id=row["id"], username=row["username"], name=row["name"], type=kind)


class Accounts:
    """Accounts and tokens. `clock`: microseconds since 1970."""

    def __init__(self, db: Database, clock: Callable[[], int]) -> None:
        self._db = db
        self._clock = clock
        self._actors: OrderedDict[str, tuple[int, Actor]] = OrderedDict()
        self._secrets: dict[str, tuple[str, str]] = {}
        self._operator: str | None = None
        self.on_forget: list[Callable[[], None]] = []
        db.listen(_TOPIC, lambda _: self.forget())

    def forget(self) -> None:
        """Drop what memory holds of tokens, and have others do so who remember what this room said."""
        self._actors.clear()
        for callback in self.on_forget:
            callback()

    # -- accounts

    async def create(self, username: str, name: str = "", *, kind: AccountType = "user") -> Account:
        """A new account with signing secrets of its own. Raises Conflict when the username is taken."""
        account = Account(id=ids.new_id(), username=username, name=name or username, type=kind)
        row = {
            "id": account.id,
            "username": account.username,
            "name": account.name,
            "type": account.type,
            "created_at": self._clock(),
            "webhook_secret": ids.new_secret(),
            "files_secret": ids.new_secret(),
        }
        await self._db.run(_INSERT, row)
        return account

    async def get(self, account_id: str) -> Account | None:
        """The account with this id."""
        row = await self._db.one(_GET, id=account_id)
        return None if row is None else _account(row)

    async def by_username(self, username: str) -> Account | None:
        """The account with this username."""
        row = await self._db.one(_BY_USERNAME, username=username)
        return None if row is None else _account(row)

    async def operates(self, account: Account) -> bool:
        """Does this account run the yard?"""
        return account.id == await self.operator_id()

    async def operator_id(self) -> str:
        """The account that runs the yard: the one that the first start made. Raises NotFound before that."""
        if self._operator is None:
            row = await self._db.one(_FIRST)
            if row is None:
                raise errors.NotFound("This yard has no account yet.")
            self._operator = str(row["id"])
        return self._operator

    async def webhook_secret(self, account_id: str) -> str:
        """What signs the account's webhooks (`whsec_…`). Raises NotFound."""
        return (await self._account_secrets(account_id))[0]

    async def files_secret(self, account_id: str) -> str:
        """What signs downloads of the account's files. Raises NotFound."""
        return (await self._account_secrets(account_id))[1]

    async def _account_secrets(self, account_id: str) -> tuple[str, str]:
        known = self._secrets.get(account_id)
        if known is None:
            row = await self._db.one(_SECRETS, id=account_id)
            if row is None:
                raise errors.NotFound("There is no such account.")
            known = self._secrets[account_id] = (row["webhook_secret"], row["files_secret"])
        return known

    # -- tokens

    async def create_token(self, account_id: str, name: str, token: str | None = None) -> str:
        """A new token of the account, shown here once; `token` gives it a known value. Raises Conflict if it exists."""
        value = token or ids.new_token()
        row = {
            "id": ids.new_id(),
            "account_id": account_id,
            "name": name,
            "hash": ids.token_hash(value),
            "created_at": self._clock(),
        }
        await self._db.run(_INSERT_TOKEN, row)
        return value

    async def tokens(self, account_id: str) -> list[Token]:
        """The account's tokens, oldest first, the disabled ones too."""
        return [Token(**row) for row in await self._db.all(_TOKENS, account_id=account_id)]

    async def disable_token(self, account_id: str, token_id: str) -> None:
        """End a token at once, everywhere. Raises NotFound when the account has no such token in use."""
        row = {"id": token_id, "account_id": account_id, "disabled_at": self._clock()}
        if not await self._db.run(_DISABLE, row):
            raise errors.NotFound("There is no such token.")
        self.forget()
        await self._db.notify(_TOPIC)

    async def actor_of(self, token: str) -> Actor | None:
        """Whom a token speaks for; None when it is unknown or disabled."""
        hashed = ids.token_hash(token)
        now = self._clock()
        known = self._actors.get(hashed)
        if known is not None and now < known[0]:
            return known[1]
        row = await self._db.one(_ACTOR, hash=hashed)
        if row is None:
            self._actors.pop(hashed, None)
            return None
        actor = Actor(account=_account(row), token_id=row["token_id"])
        self._actors[hashed] = (now + REMEMBERED_SECONDS * 1_000_000, actor)
        if len(self._actors) > REMEMBERED_TOKENS:
            self._actors.popitem(last=False)
        return actor
