"""Requests that are sent twice: which prediction the first one made.

A client that lost its patience sends the same creation again. The 2.x Python client numbers its attempts in
`x-stainless-retry-count`; anybody else may name a request with `Idempotency-Key`.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from collections.abc import Callable

_REMEMBERED_US = 90 * 1_000_000
_REMEMBERED_US_BY_NAME = 24 * 3600 * 1_000_000
_MOST = 20_000


def key_of_body(account_id: str, path: str, body: bytes) -> bytes:
    """What two attempts of one request have in common."""
    return hashlib.blake2b(b"\x00".join([account_id.encode(), path.encode(), body]), digest_size=16).digest()


class Retries:
    """Remembers, in memory and for a while, what requests made. `clock`: microseconds."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._made: OrderedDict[bytes, deque[tuple[int, str]]] = OrderedDict()
        self._named: OrderedDict[tuple[str, bytes], tuple[int, bytes, str]] = OrderedDict()

    def made(self, key: bytes, prediction_id: str) -> None:
        """A first attempt made this prediction."""
        self._made.setdefault(key, deque(maxlen=64)).append((self._clock(), prediction_id))
        self._made.move_to_end(key)
        if len(self._made) > _MOST:
            self._made.popitem(last=False)

    def again(self, key: bytes) -> str | None:
        """What an earlier attempt made. Several equal requests are answered in turns."""
        made = self._made.get(key)
        while made:
            at, prediction_id = made[0]
            if at + _REMEMBERED_US >= self._clock():
                made.rotate(-1)
                return prediction_id
            made.popleft()
        self._made.pop(key, None)
        return None

    def name(self, account_id: str, name: bytes, body_key: bytes, prediction_id: str) -> None:
        """A request that its sender named made this prediction."""
        self._named[account_id, name] = (self._clock(), body_key, prediction_id)
        if len(self._named) > _MOST:
            self._named.popitem(last=False)

    def named(self, account_id: str, name: bytes) -> tuple[bytes, str] | None:
        """The body's key and the prediction of an earlier request of this name."""
        known = self._named.get((account_id, name))
        if known is None or known[0] + _REMEMBERED_US_BY_NAME < self._clock():
            return None
        return known[1], known[2]
