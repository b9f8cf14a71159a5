"""Who waits for what, in this process: topics that are published, waited for and followed.

A topic is a string with a meaning between publisher and listener (`prediction:<id>`); it carries no value: whoever
is told looks at the state itself. Everything happens on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

Callback = Callable[[], None]

_log = logging.getLogger(__name__)


class Topics:
    """The topics of one process; a topic exists while somebody listens to it."""

    def __init__(self) -> None:
        self._followers: dict[str, list[Callback]] = {}

    def publish(self, topic: str) -> None:
        """Call everyone who follows `topic`, now and in the order in which they came."""
        for callback in tuple(self._followers.get(topic, ())):
            _tell(topic, callback)

    def follow(self, topic: str, callback: Callback) -> Callback:
        """Have `callback` called at every publish from now on; returns what ends that (harmless twice)."""
        self._followers.setdefault(topic, []).append(callback)
        following = True

        def unfollow() -> None:
            nonlocal following
            if following:
                following = False
                self._drop(topic, callback)

        return unfollow

    async def wait(self, topic: str, timeout: float | None = None) -> bool:
        """Sleep until the next publish; False when `timeout` seconds passed without one.

        Nothing is missed between looking at the state and this call as long as nothing is awaited in between.
        """
        published = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not published.done():
                published.set_result(None)

        unfollow = self.follow(topic, wake)
        try:
            done, _ = await asyncio.wait([published], timeout=timeout)
            return bool(done)
        finally:
            unfollow()

    def __len__(self) -> int:
        return len(self._followers)

    def _drop(self, topic: str, callback: Callback) -> None:
        followers = self._followers[topic]
        followers.remove(callback)
        if not followers:
            del self._followers[topic]


def _tell(topic: str, callback: Callback) -> None:
    try:
        callback()
    except Exception:
        # One listener that fails must not keep the news from the others, nor reach the publisher.
        _log.exception("a follower of %s failed", topic)
