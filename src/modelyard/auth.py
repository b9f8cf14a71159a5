"""Who makes this request: the `Authorization` header, read once and remembered.

`Bearer TOKEN` and the older `Token TOKEN` say the same, in any case of letters. `Session VALUE` is what the door of the
pages makes of a signed-in browser's cookie.
"""

from __future__ import annotations

from collections.abc import Callable

from modelyard import errors
from modelyard.accounts import Accounts, Actor
from modelyard.sessions import Sessions

_REMEMBERED_SECONDS = 30
_REMEMBERED_HEADERS = 10_000
_SCHEMES = ("bearer", "token")
SESSION = b"session "

NO_TOKEN = "You did not pass an authentication token"  # noqa: S105 - a sentence
BAD_TOKEN = "You did not pass a valid authentication token"  # noqa: S105 - a sentence
_HINT = "Send the header `Authorization: Bearer r8_…` with a token of this yard."


def token_of(header: bytes) -> str | None:
    """The token in an `Authorization` header; None when there is none in it."""
    scheme, _, token = header.decode("latin-1").strip().partition(" ")
    token = token.strip()
    return token if token and scheme.lower() in _SCHEMES else None


class Authenticator:
    """Turns the header's bytes into an actor. `clock`: microseconds since 1970."""

    def __init__(self, accounts: Accounts, sessions: Sessions, clock: Callable[[], int]) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._clock = clock
        self._known: dict[bytes, tuple[int, Actor]] = {}
        accounts.on_forget.append(self._known.clear)
        sessions.on_forget.append(self._known.clear)

    def peek(self, header: bytes) -> Actor | None:
        """Whom this header was seen to speak for a moment ago, if it was."""
        known = self._known.get(header)
        if known is None or known[0] < self._clock():
            return None
        return known[1]

    async def actor(self, header: bytes) -> Actor:
        """Whom the header speaks for. Raises Unauthenticated."""
        known = self.peek(header)
        if known is not None:
            return known
        if not header:
            raise errors.Unauthenticated(NO_TOKEN, hint=_HINT)
        actor = await self._find(header)
        if actor is None:
            raise errors.Unauthenticated(BAD_TOKEN, hint=_HINT)
        if len(self._known) >= _REMEMBERED_HEADERS:
            self._known.clear()
        self._known[header] = (self._clock() + _REMEMBERED_SECONDS * 1_000_000, actor)
        return actor

    async def _find(self, header: bytes) -> Actor | None:
        if header.startswith(SESSION):
            account = await self._sessions.account_of(header[len(SESSION) :].decode("latin-1"))
            return None if account is None else Actor(account=account, token_id="", source="web")
        token = token_of(header)
        return None if token is None else await self._accounts.actor_of(token)
