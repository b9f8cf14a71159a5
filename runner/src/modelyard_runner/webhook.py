"""Posts a prediction's state to a URL: filtered, throttled, in order, the last one until it is taken."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelyard_runner.prediction import Event

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

TIMEOUT = 30.0
RETRIES = 12
FIRST_PAUSE = 0.1
MAX_FACTOR = 2**10
RETRIED = (429, 500, 502, 503, 504)
# States of one prediction that may wait to be sent; of more of a kind only the newest is.
MAX_WAITING = 32

_NAMES: dict[Event, str] = {"start": "start", "log": "logs", "output": "output", "completed": "completed"}


class Sender:
    """Sends webhooks. `session` gives the HTTP client when it is first needed; `throttle` is seconds between `logs`."""

    def __init__(
        self,
        session: Callable[[], aiohttp.ClientSession],
        *,
        headers: Mapping[str, str],
        throttle: float,
        pause: float = FIRST_PAUSE,
    ) -> None:
        self._session = session
        self._headers = {"Content-Type": "application/json", **headers}
        self._pause = pause
        self.throttle = throttle
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, url: str, events: list[str] | None, headers: Mapping[str, str]) -> Hook | None:
        """The webhook of one prediction; None, with a log line, for what is no address, and for no events."""
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            good = False
        if not good:
            log.warning("a webhook is ignored: %r is no http or https address", url[:200])
            return None
        wanted = frozenset(("start", "output", "logs", "completed") if events is None else events)
        return Hook(self, url, wanted, headers) if wanted else None

    def start(self, hook: Hook) -> None:
        """Sends what waits in a hook, until nothing does."""
        task = asyncio.get_running_loop().create_task(self._deliver(hook))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, hook: Hook) -> None:
        while hook.waiting:
            event, body = hook.waiting.popleft()
            await self._post(hook, body, RETRIES if event == "completed" else 0)
        hook.busy = False

    async def _post(self, hook: Hook, body: bytes, retries: int) -> None:
        for attempt in range(retries + 1):
            status = await self._try(hook, body)
            if 200 <= status < 300:
                return
            if status not in RETRIED and status != 0:
                log.warning("a webhook was refused with status %s", status)
                return
            if attempt < retries:
                await asyncio.sleep(self._pause * min(2**attempt, MAX_FACTOR))
        log.warning("a webhook was not taken")

    async def _try(self, hook: Hook, body: bytes) -> int:
        import aiohttp  # slow to load, and only those who have webhooks need it

        try:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT)
            headers = {**self._headers, **hook.headers}
            async with self._session().post(hook.url, data=body, headers=headers, timeout=timeout) as answer:
                return answer.status
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            log.info("a webhook could not be sent: %s", error)
            return 0

    async def close(self, timeout: float) -> None:
        """Gives what waits `timeout` seconds more."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=timeout)
            for task in late:
                task.cancel()


class Hook:
    """The webhook of one prediction: told of events, it decides what is sent and when."""

    def __init__(self, sender: Sender, url: str, events: frozenset[str], headers: Mapping[str, str]) -> None:
        self.url = url
        self.headers = dict(headers)
        self.busy = False
        self.waiting: deque[tuple[str, bytes]] = deque()
        self._sender = sender
        self._events = events
        self._timer: asyncio.TimerHandle | None = None

    def tell(self, event: Event, state: Callable[[], bytes]) -> None:
        """Something changed; `state` gives the JSON to send, now or, for logs that come too often, later."""
        name = _NAMES.get(event)
        if event == "completed" and self._timer is not None:
            self._timer.cancel()
        if name is None or name not in self._events:
            return
        if name != "logs":
            self._queue(name, state())
        elif self._timer is None:
            self._queue(name, state())
            self._hold(state)

    def _hold(self, state: Callable[[], bytes]) -> None:
        """Nothing more of logs for a while; then what they are by then, if they changed."""
        sent = state()

        def later() -> None:
            self._timer = None
            if state() != sent:
                self.tell("log", state)

        self._timer = asyncio.get_running_loop().call_later(self._sender.throttle, later)

    def _queue(self, name: str, body: bytes) -> None:
        if len(self.waiting) >= MAX_WAITING and self.waiting[-1][0] == name:
            self.waiting.pop()
        self.waiting.append((name, body))
        if not self.busy:
            self.busy = True
            self._sender.start(self)
