"""Who in this process wants to be told of a notify."""

from __future__ import annotations

import logging
from collections.abc import Callable

Callback = Callable[[str], None]

_log = logging.getLogger(__name__)


class Listeners:
    """Callbacks by topic, called with the payload on the event loop's thread."""

    def __init__(self) -> None:
        self._callbacks: dict[str, list[Callback]] = {}

    def add(self, topic: str, callback: Callback) -> Callable[[], None]:
        """Returns what takes the callback away again (harmless twice)."""
        self._callbacks.setdefault(topic, []).append(callback)
        listening = True

        def unlisten() -> None:
            nonlocal listening
            if listening:
                listening = False
                self._drop(topic, callback)

        return unlisten

    def deliver(self, topic: str, payload: str) -> None:
        for callback in tuple(self._callbacks.get(topic, ())):
            _tell(topic, callback, payload)

    def _drop(self, topic: str, callback: Callback) -> None:
        callbacks = self._callbacks[topic]
        callbacks.remove(callback)
        if not callbacks:
            del self._callbacks[topic]


def _tell(topic: str, callback: Callback, payload: str) -> None:
    try:
        callback(payload)
    except Exception:
        # One listener that fails must not end the listening of the others.
        _log.exception("a listener of %s failed", topic)
