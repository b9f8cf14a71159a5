"""Who is about to use what, so that nothing is taken away under somebody's hands.

Whoever finds something and then writes down that it is needed (an image that names a layer, a prediction whose input is
a file) says so first with `using`. Whoever removes asks `take` before and says `gone` after. Between the two, `using`
waits; so what is looked up after it is there and stays, or is gone for everybody.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict


class Uses:
    """Keys that were used lately, and keys that are being taken away. One event loop only, which gives the time."""

    def __init__(self, remembered_seconds: float) -> None:
        self.remembered_seconds = remembered_seconds
        self._used: OrderedDict[str, float] = OrderedDict()
        self._going: dict[str, asyncio.Future[None]] = {}

    async def using(self, *keys: str) -> None:
        """These are about to be looked up; waits while one of them is being taken away."""
        now = asyncio.get_running_loop().time()
        for key in keys:
            self._used[key] = now
            self._used.move_to_end(key)
        while self._used and next(iter(self._used.values())) < now - self.remembered_seconds:
            self._used.popitem(last=False)
        if self._going:
            for going in [self._going[key] for key in keys if key in self._going]:
                await asyncio.shield(going)

    def used(self, key: str, since: float) -> bool:
        """Did somebody use it since then (the loop's time)?"""
        return self._used.get(key, float("-inf")) >= since

    def take(self, key: str, since: float) -> bool:
        """May it be taken away: did nobody use it since then (the loop's time)? If so, users wait until `gone`."""
        if key in self._going or self.used(key, since):
            return False
        self._going[key] = asyncio.get_running_loop().create_future()
        return True

    def gone(self, key: str) -> None:
        """It was taken away, or could not be: users may look now."""
        going = self._going.pop(key, None)
        if going is not None and not going.done():
            going.set_result(None)
