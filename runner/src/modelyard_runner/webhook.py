"""Posts a prediction's state to a URL: filtered, throttled, in order, the last one until it is taken.

What waits to be sent is kept as moments, a few bytes each, and becomes JSON when its turn comes: a receiver that is
slower than the model costs little memory, and the model no time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelyard_runner import replies
from modelyard_runner.prediction import Event, Moment, Prediction

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

TIMEOUT = 30.0
RETRIES = 12
FIRST_PAUSE = 0.1
MAX_FACTOR = 2**10
RETRIED = (429, 500, 502, 503, 504)
# States of one prediction that may wait to be sent; of more only the newest is, which has all that the others had.
MAX_WAITING = 10_000
# Seconds after the end of a prediction for what still waits; then only its outcome is sent.
LATENESS = 30.0
# Bytes of an answer that are read, so that its connection can be used again.
MAX_ANSWER = 64 * 1024
# Characters of an address that the log shows.
MAX_SHOWN = 200

_NAMES: dict[Event, str] = {"start": "start", "log": "logs", "output": "output"}


class Sender:
    """Sends webhooks. `session` gives the HTTP client when it is first needed; `throttle` is seconds between `logs`.

    `most` and `lateness` are explained at `MAX_WAITING` and `LATENESS`.
    """

    def __init__(
        self,
        session: Callable[[], Awaitable[aiohttp.ClientSession]],
        *,
        headers: Mapping[str, str],
        throttle: float,
        pause: float = FIRST_PAUSE,
        most: int = MAX_WAITING,
        lateness: float = LATENESS,
    ) -> None:
        self._session = session
        self._headers = {"Content-Type": "application/json", **headers}
        self._pause = pause
        self.throttle = throttle
        self.most = most
        self.lateness = lateness
        # Whether only outcomes are still sent.
        self.hurried = False
        self._prepared = False
        self._tasks: set[asyncio.Task[None]] = set()

    def open(
        self, prediction: Prediction, url: str, events: list[str] | None, headers: Mapping[str, str]
    ) -> Hook | None:
        """The webhook of one prediction; None, with a log line, for what is no address, and for no events."""
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            good = False
        if not good:
            said = f"a webhook is ignored: {shown(url)!r} is no http or https address"
            log.warning("%s (prediction %s)", said, prediction.id)
            return None
        wanted = frozenset(("start", "output", "logs", "completed") if events is None else events)
        if not wanted:
            return None
        if not self._prepared:
            self._prepared = True
            self._spawn(self._prepare())
        return Hook(self, prediction, url, wanted, headers)

    async def _prepare(self) -> None:
        """Has the client loaded before there is something to send."""
        await self._session()

    def start(self, hook: Hook) -> None:
        """Sends what waits in a hook, until nothing does."""
        self._spawn(self._deliver(hook))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, hook: Hook) -> None:
        try:
            while (body := hook.take()) is not None:
                await (self._insist(hook, body) if hook.last else self._post(hook, body))
        except asyncio.CancelledError:
            hook.warn("given up: the server stops")
            raise

    async def _post(self, hook: Hook, body: bytes) -> None:
        """Sends a state once. Of those that one prediction's receiver does not take only the first is told."""
        status, why = await self._try(hook, body)
        if not 200 <= status < 300 and not hook.troubled:
            hook.troubled = True
            hook.warn(f"try 1 of 1 failed: {why}; of further ones before the outcome nothing is said")

    async def _insist(self, hook: Hook, body: bytes) -> None:
        """Sends the outcome until it is taken."""
        tries = RETRIES + 1
        for number in range(1, tries + 1):
            status, why = await self._try(hook, body)
            if 200 <= status < 300:
                return
            if status not in RETRIED and status != 0:
                hook.warn(f"the outcome is given up: {why}, which is final")
                return
            if number < tries:
                pause = self._pause * min(2 ** (number - 1), MAX_FACTOR)
                hook.warn(f"try {number} of {tries} to send the outcome failed: {why}; the next in {pause:g} s")
                await asyncio.sleep(pause)
        hook.warn(f"the outcome is given up after {tries} tries: {why}")

    async def _try(self, hook: Hook, body: bytes) -> tuple[int, str]:
        """The status, 0 for none, and what is wrong with it."""
        session = await self._session()
        import aiohttp  # slow to load, and only those who have webhooks need it: the session has loaded it

        try:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT)
            headers = {**self._headers, **hook.headers}
            async with session.post(hook.url, data=body, headers=headers, timeout=timeout) as answer:
                await answer.content.read(MAX_ANSWER)
                return answer.status, f"status {answer.status}"
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            return 0, _why(error)

    async def close(self, timeout: float) -> None:
        """Gives what waits `timeout` seconds more; in the second half of them outcomes come first."""
        for _ in range(2):
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=timeout / 2)
            self.hurried = True
        for task in self._tasks:
            task.cancel()


class Hook:
    """The webhook of one prediction: told of events, it decides what is sent and when."""

    def __init__(
        self, sender: Sender, prediction: Prediction, url: str, events: frozenset[str], headers: Mapping[str, str]
    ) -> None:
        self.url = url
        self.headers = dict(headers)
        # Whether what was taken is the outcome, after which nothing comes.
        self.last = False
        # Whether it was said that something was not taken.
        self.troubled = False
        self._sender = sender
        self._prediction = prediction
        self._events = events
        self._busy = False
        self._waiting: deque[Moment] = deque()
        self._outcome = False
        self._skip_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def warn(self, text: str) -> None:
        """A line about it in the server's log."""
        log.warning("webhook of prediction %s to %s: %s", self._prediction.id, shown(self.url), text)

    def wants(self, name: str) -> bool:
        """Whether it is to be told of these events."""
        return name in self._events

    def tell(self, event: Event) -> None:
        """The prediction changed."""
        if event == "completed":
            self._end()
            return
        name = _NAMES.get(event)
        if name not in self._events or (name == "logs" and self._timer is not None):
            return
        if name == "logs":
            self._hold(self._prediction.logged)
        if len(self._waiting) >= self._sender.most:
            self._waiting.pop()
        self._waiting.append(self._prediction.moment())
        self._send()

    def _hold(self, sent: int) -> None:
        """Nothing more of logs for a while; then what they are by then, if there are more."""

        def later() -> None:
            self._timer = None
            if self._prediction.logged != sent:
                self.tell("log")

        self._timer = asyncio.get_running_loop().call_later(self._sender.throttle, later)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._skip_at = asyncio.get_running_loop().time() + self._sender.lateness
        if "completed" in self._events:
            self._outcome = True
            self._send()

    def _late(self) -> bool:
        late = self._sender.hurried or asyncio.get_running_loop().time() > self._skip_at
        return bool(self._skip_at) and late

    def _send(self) -> None:
        if not self._busy:
            self._busy = True
            self._sender.start(self)

    def take(self) -> bytes | None:
        """The next state to be sent, as JSON; None: there is none."""
        if self._waiting and self._late():
            self.warn(f"{len(self._waiting)} states from before the end are left out: the receiver is too slow")
            self._waiting.clear()
        if self._waiting:
            return replies.render_at(self._prediction, self._waiting.popleft())
        self.last, self._outcome = self._outcome, False
        if self.last:
            return replies.render(self._prediction)
        self._busy = False
        return None


def shown(url: str) -> str:
    """An address, or what is none, without its user, password and query: those are often secrets."""
    scheme, separator, rest = url.partition("#")[0].partition("?")[0].rpartition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"[:MAX_SHOWN]


def _why(error: BaseException) -> str:
    """Why nothing was answered. The address is told beside it: errors that quote it quote its query."""
    if isinstance(error, asyncio.TimeoutError):
        return f"no answer within {TIMEOUT:g} seconds"
    reason = getattr(error, "os_error", error)
    if isinstance(reason, OSError):
        return reason.strerror or str(reason) or type(reason).__name__
    return type(reason).__name__
