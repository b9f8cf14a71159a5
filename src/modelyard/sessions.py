"""Browsers that are signed in: links that sign one in, once, and the sessions that come of them.

Nothing here knows how an account proved itself: a link made by somebody who has a token is the first way, and others
(a password, a single sign-on) need only call `begin`. Links and sessions are kept as hashes.
"""

from __future__ import annotations

from collections.abc import Callable

from modelyard import ids
from modelyard.accounts import Account, Accounts
from modelyard.db.base import Database, Statement, Tx

LINK_SECONDS = 15 * 60
SESSION_SECONDS = 30 * 24 * 3600
_TOPIC = "sessions"

_ADD_LINK = Statement(
    "insert_login_link",
    "INSERT INTO login_links (hash, account_id, expires_at) VALUES (:hash, :account_id, :expires_at)",
)
_DROP_LINKS = Statement("drop_old_login_links", "DELETE FROM login_links WHERE expires_at <= :now")
_LINK = Statement("get_login_link", "SELECT account_id FROM login_links WHERE hash = :hash AND expires_at > :now")
_USE_LINK = Statement("use_login_link", "DELETE FROM login_links WHERE hash = :hash", by_key=True)
_ADD = Statement(
    "insert_session",
    "INSERT INTO sessions (hash, account_id, created_at, expires_at) VALUES (:hash, :account_id, :now, :expires_at)",
)
_DROP_OLD = Statement("drop_old_sessions", "DELETE FROM sessions WHERE expires_at <= :now")
_GET = Statement("get_session", "SELECT account_id FROM sessions WHERE hash = :hash AND expires_at > :now")
_END = Statement("end_session", "DELETE FROM sessions WHERE hash = :hash", by_key=True)


class Sessions:
    """Links and sessions. `clock`: microseconds since 1970."""

    def __init__(self, db: Database, accounts: Accounts, clock: Callable[[], int]) -> None:
        self._db = db
        self._accounts = accounts
        self._clock = clock
        self.on_forget: list[Callable[[], None]] = []
        db.listen(_TOPIC, lambda _: self._forget())

    def _forget(self) -> None:
        for callback in self.on_forget:
            callback()

    async def create_link(self, account_id: str) -> str:
        """What signs a browser in as this account, once, within `LINK_SECONDS`; shown here only."""
        now, value = self._clock(), ids.new_ticket()
        await self._db.run(_DROP_LINKS, {"now": now})
        row = {"hash": ids.token_hash(value), "account_id": account_id, "expires_at": now + LINK_SECONDS * 1_000_000}
        await self._db.run(_ADD_LINK, row)
        return value

    async def use_link(self, value: str) -> str | None:
        """The session that a link opens; the link is void from now on. None: it was used, is too old or never was."""
        hashed, now = ids.token_hash(value), self._clock()

        def take(tx: Tx) -> str | None:
            row = tx.one(_LINK, hash=hashed, now=now)
            # Of two browsers that come with one link, the deletion tells which was first.
            return row["account_id"] if row is not None and tx.run(_USE_LINK, {"hash": hashed}) else None

        account_id = await self._db.transaction(take)
        return None if account_id is None else await self.begin(account_id)

    async def begin(self, account_id: str) -> str:
        """A new session of an account that has proved itself; the value is for its browser alone."""
        now, value = self._clock(), ids.new_ticket()
        await self._db.run(_DROP_OLD, {"now": now})
        expires_at = now + SESSION_SECONDS * 1_000_000
        row = {"hash": ids.token_hash(value), "account_id": account_id, "now": now, "expires_at": expires_at}
        await self._db.run(_ADD, row)
        return value

    async def account_of(self, value: str) -> Account | None:
        """Whose session this is; None when it ended or never was one."""
        row = await self._db.one(_GET, hash=ids.token_hash(value), now=self._clock())
        return None if row is None else await self._accounts.get(row["account_id"])

    async def end(self, value: str) -> None:
        """Sign out, on every node."""
        await self._db.run(_END, {"hash": ids.token_hash(value)})
        self._forget()
        await self._db.notify(_TOPIC)
