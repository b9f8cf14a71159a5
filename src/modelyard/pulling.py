"""Tokens with which an engine of this yard pulls one repository's images, for an hour: never anybody's own token."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from modelyard.accounts import Account, Actor
from modelyard.auth import token_of

SECONDS = 3600
_FIRST = "pull"
_NOBODY = Account(id="", username="", name="an engine of this yard")

Authenticate = Callable[[bytes], Awaitable[Actor]]
May = Callable[[Actor, str], Awaitable[bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Puller(Actor):
    """An engine that pulls, and may read this repository alone."""

    repository: str


class PullTokens:
    """Makes and knows them. `secret` is the yard's own; `clock`: microseconds since 1970."""

    def __init__(self, secret: bytes, clock: Callable[[], int]) -> None:
        self._secret = secret
        self._clock = clock

    def make(self, repository: str) -> str:
        """A token for the images of `repository`."""
        until = self._clock() // 1_000_000 + SECONDS
        return f"{_FIRST}:{until}:{repository}:{self._sign(repository, until)}"

    def puller(self, token: str) -> Puller | None:
        """Whom a token speaks for; None when it is none of these, or its hour is over."""
        first, _, rest = token.partition(":")
        until, _, rest = rest.partition(":")
        repository, _, signature = rest.rpartition(":")
        if first != _FIRST or not until.isdecimal() or len(until) > 12:
            return None
        right = hmac.compare_digest(self._sign(repository, int(until)).encode(), signature.encode())
        if not right or int(until) * 1_000_000 < self._clock():
            return None
        return Puller(account=_NOBODY, token_id="", repository=repository)

    def _sign(self, repository: str, until: int) -> str:
        return hmac.new(self._secret, f"pull {until} {repository}".encode(), hashlib.sha256).hexdigest()

    # -- at the registry's door

    def known_to(self, others: Authenticate) -> Authenticate:
        """Who comes with such a token is known, besides those whom `others` knows."""

        async def authenticate(header: bytes) -> Actor:
            token = token_of(header)
            puller = None if token is None else self.puller(token)
            return puller or await others(header)

        return authenticate

    @staticmethod
    def reading(others: May) -> May:
        """Who may read: with such a token its repository, else whom `others` lets."""

        async def may_read(actor: Actor, repository: str) -> bool:
            if isinstance(actor, Puller):
                return actor.repository == repository
            return await others(actor, repository)

        return may_read

    @staticmethod
    def writing(others: May) -> May:
        """Who may write: with such a token nobody, else whom `others` lets."""

        async def may_write(actor: Actor, repository: str) -> bool:
            return not isinstance(actor, Puller) and await others(actor, repository)

        return may_write
