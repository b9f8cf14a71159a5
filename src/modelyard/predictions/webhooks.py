"""Webhooks: what happens to a prediction, posted to the address that its caller gave, signed as Standard Webhooks says.

The end of a prediction is put into an outbox in the same commit that ends it, and tried again until it is delivered or
`RETRY_SECONDS` are used up. What happens before the end is told from memory, once, at most every `THROTTLE_SECONDS`.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import standardwebhooks

from modelyard import ids
from modelyard.accounts import Accounts
from modelyard.db.base import Database, Row, Statement
from modelyard.models.service import Models
from modelyard.predictions import statements
from modelyard.predictions.document import Renderer
from modelyard.predictions.live import Live
from modelyard.predictions.record import Prediction

if TYPE_CHECKING:
    import aiohttp

# Waits between the attempts to tell an end; the last one comes about a minute after the first.
RETRY_SECONDS = (1, 2, 4, 8, 16, 32)
THROTTLE_SECONDS = 0.5
TIMEOUT_SECONDS = 10
MOST_AT_ONCE = 64
_MOST_PER_HOST = 8
DEFAULT_EVENTS = ("output", "completed")
_THROTTLED = ("output", "logs")
# An attempt belongs to the node that made it its own, for so long; a node that dies leaves it to the others.
_LEASE_US = 25 * 1_000_000
_IDLE_SECONDS = 30.0

log = logging.getLogger(__name__)

# Only if the outcome that it tells of is the one that stands.
_INSERT = Statement(
    "insert_webhook",
    "INSERT INTO webhooks (id, prediction_id, event, url, body, created_at, attempts, next_attempt_at)"
    " SELECT CAST(:id AS TEXT), id, CAST(:event AS TEXT), CAST(:url AS TEXT), '', CAST(:now AS BIGINT), 0,"
    " CAST(:now AS BIGINT) FROM predictions WHERE id = :prediction_id AND completed_at = :completed_at",
)
_DUE = Statement(
    "due_webhooks",
    "SELECT id, prediction_id, event, url, attempts, next_attempt_at FROM webhooks"
    " WHERE delivered_at IS NULL AND failed_at IS NULL AND next_attempt_at <= :now"
    " ORDER BY next_attempt_at LIMIT :limit",
)
_NEXT = Statement(
    "next_webhook",
    "SELECT MIN(next_attempt_at) AS at FROM webhooks WHERE delivered_at IS NULL AND failed_at IS NULL",
)
_TAKE = Statement(
    "take_webhook",
    "UPDATE webhooks SET next_attempt_at = :until, attempts = attempts + 1"
    " WHERE id = :id AND next_attempt_at = :seen AND delivered_at IS NULL AND failed_at IS NULL",
    by_key=True,
)
_RESULT = Statement(
    "webhook_result",
    "UPDATE webhooks SET delivered_at = :delivered_at, failed_at = :failed_at, next_attempt_at = :next_attempt_at,"
    " last_status = :last_status, last_error = :last_error WHERE id = :id",
    by_key=True,
)


class _Sender:
    """What is still to be told of one running prediction."""

    __slots__ = ("live", "pending", "sent_at", "task", "timer")

    def __init__(self, live: Live) -> None:
        self.live = live
        self.pending: list[str] = []
        self.sent_at = -THROTTLE_SECONDS
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None


def wanted(record: Prediction) -> tuple[str, ...]:
    """The events that a prediction's webhook is told."""
    return DEFAULT_EVENTS if record.webhook_events is None else record.webhook_events


class Outbox:
    """Sends webhooks. `origin`: where receivers find this yard when the request that made a prediction did not say.

    `private_addresses`: may a webhook go to an address of a private network, or of this host? `clock`: microseconds.
    """

    def __init__(
        self,
        *,
        db: Database,
        accounts: Accounts,
        models: Models,
        renderer: Renderer,
        clock: Callable[[], int],
        origin: str,
        private_addresses: bool,
    ) -> None:
        self._db = db
        self._accounts = accounts
        self._models = models
        self._renderer = renderer
        self._clock = clock
        self._origin = origin
        self._post = Poster(private_addresses)
        self._origins: dict[str, str] = {}
        self._senders: dict[str, _Sender] = {}
        self._awake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def remember_origin(self, prediction_id: str, origin: str) -> None:
        """The address that this prediction's caller knows the yard by."""
        self._origins[prediction_id] = origin

    # -- the end, through the outbox

    def rows(self, record: Prediction, event: str) -> Sequence[tuple[Statement, Mapping[str, Any]]]:
        """Statements that put the event into the outbox; empty when nobody asked for it."""
        if record.webhook is None or event not in wanted(record):
            if event == "completed" and record.id not in self._senders:
                self._origins.pop(record.id, None)
            return ()
        values = {
            "id": f"msg_{ids.new_id()}",
            "prediction_id": record.id,
            "event": event,
            "url": record.webhook,
            "now": self._clock(),
            "completed_at": record.completed_at,
        }
        return ((_INSERT, values),)

    def wake(self) -> None:
        """Rows were committed."""
        self._awake.set()

    async def run(self) -> None:
        """Deliver what is in the outbox, until cancelled."""
        try:
            while True:
                self._awake.clear()
                seconds = await self._iterate()
                try:
                    async with asyncio.timeout(seconds):
                        await self._awake.wait()
                except TimeoutError:
                    continue
        finally:
            await self.close()

    async def close(self) -> None:
        """End what is being sent; what is in the outbox stays there."""
        senders = [sender.task for sender in self._senders.values() if sender.task is not None]
        for sender in self._senders.values():
            if sender.timer is not None:
                sender.timer.cancel()
        tasks = [*self._tasks, *senders]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._post.close()

    async def _iterate(self) -> float:
        """Start what is due; gives the seconds until something else is."""
        try:
            room = MOST_AT_ONCE - len(self._tasks)
            if room <= 0:
                return _IDLE_SECONDS
            due = await self._db.all(_DUE, now=self._clock(), limit=room)
            for row in due:
                await self._start(row)
            if len(due) == room:
                return _IDLE_SECONDS
            following = await self._db.one(_NEXT)
            if following is None or following["at"] is None:
                return _IDLE_SECONDS
            seconds: float = (following["at"] - self._clock()) / 1e6
            return min(max(seconds, 0.01), _IDLE_SECONDS)
        except Exception:
            log.exception("webhooks cannot be read, trying again")
            return 1.0

    async def _start(self, row: Row) -> None:
        taken = {"id": row["id"], "seen": row["next_attempt_at"], "until": self._clock() + _LEASE_US}
        if await self._db.run(_TAKE, taken):
            task = asyncio.get_running_loop().create_task(self._deliver(row))
            self._tasks.add(task)
            task.add_done_callback(self._delivered)

    def _delivered(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._awake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a webhook could not be sent", exc_info=error)

    async def _deliver(self, row: Row) -> None:
        stored = await self._db.one(statements.GET, id=row["prediction_id"])
        status: int | None = None
        problem: str | None = "the prediction is gone"
        if stored is not None:
            record = statements.from_row(stored)
            await self._after_sender(record.id)
            status, problem = await self._send(record, row["url"], row["id"], None)
        now, attempts = self._clock(), row["attempts"] + 1
        again = problem and stored is not None and attempts <= len(RETRY_SECONDS)
        result = {
            "id": row["id"],
            "delivered_at": None if problem else now,
            "failed_at": now if problem and not again else None,
            "next_attempt_at": now + RETRY_SECONDS[attempts - 1] * 1_000_000 if again else None,
            "last_status": status,
            "last_error": problem,
        }
        await self._db.run(_RESULT, result)
        if not again:
            self._origins.pop(row["prediction_id"], None)
            if problem:
                log.warning("a webhook was given up: %s", problem, extra={"prediction_id": row["prediction_id"]})

    async def _after_sender(self, prediction_id: str) -> None:
        """What was told before the end must not arrive after it."""
        sender = self._senders.pop(prediction_id, None)
        if sender is None:
            return
        sender.pending.clear()
        if sender.timer is not None:
            sender.timer.cancel()
        if sender.task is not None:
            await asyncio.wait([sender.task])

    # -- before the end, from memory

    def touched(self, live: Live, event: str) -> None:
        """`start`, `output` or `logs` happened: tell it soon."""
        if event not in wanted(live.record):
            return
        sender = self._senders.get(live.id)
        if sender is None:
            sender = self._senders[live.id] = _Sender(live)
        if event not in sender.pending:
            sender.pending.append(event)
            self._schedule(sender)

    def _schedule(self, sender: _Sender) -> None:
        if sender.task is not None or not sender.pending:
            return
        loop = asyncio.get_running_loop()
        throttled = all(event in _THROTTLED for event in sender.pending)
        if sender.timer is not None:
            if throttled:
                return
            sender.timer.cancel()
        at = sender.sent_at + THROTTLE_SECONDS if throttled else loop.time()
        sender.timer = loop.call_at(at, self._begin, sender)

    def _begin(self, sender: _Sender) -> None:
        sender.timer = None
        sender.task = asyncio.get_running_loop().create_task(self._tell(sender))
        sender.task.add_done_callback(lambda task: self._told(sender, task))

    def _told(self, sender: _Sender, task: asyncio.Task[None]) -> None:
        sender.task = None
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            log.error("a webhook could not be sent", exc_info=error)
        if sender.pending:
            self._schedule(sender)
        elif sender.live.record.terminal:
            self._senders.pop(sender.live.id, None)
            if "completed" not in wanted(sender.live.record):
                self._origins.pop(sender.live.id, None)

    async def _tell(self, sender: _Sender) -> None:
        live = sender.live
        if live.ending and not live.record.terminal:
            if "completed" in wanted(live.record):
                sender.pending.clear()
                return
            await live.finished()
        sender.pending.clear()
        sender.sent_at = asyncio.get_running_loop().time()
        await self._send(live.record, live.record.webhook or "", f"msg_{ids.new_id()}", live)

    # -- one message

    async def _send(
        self, record: Prediction, url: str, message_id: str, live: Live | None
    ) -> tuple[int | None, str | None]:
        """The status that came back, if any, and what is wrong with it, if something is."""
        interface = await self._models.interface_of(record.model_id, record.version_id)
        origin = self._origins.get(record.id, self._origin)
        body = self._renderer.render(record, origin, interface, live=live)
        secret = await self._accounts.webhook_secret(record.account_id)
        at = datetime.fromtimestamp(self._clock() // 1_000_000, UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": standardwebhooks.Webhook(secret).sign(message_id, at, body.decode()),
        }
        return await self._post(url, body, headers)


class Poster:
    """Posts a body; follows no redirect, and reaches private networks only if it may."""

    def __init__(self, private_addresses: bool) -> None:
        self._private = private_addresses
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int | None, str | None]:
        """The status that came back, if any, and what is wrong with it, if something is."""
        # Most yards send no webhook: the HTTP client's memory is taken when there is one.
        import aiohttp

        session = self._session = self._session or self._open()
        try:
            if not self._private:
                await _refuse_private(url)
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                good = 200 <= answer.status < 300
                return answer.status, None if good else f"the receiver answered {answer.status}"
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            return None, f"{type(error).__name__}: {error}"[:500]

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        resolver = None if self._private else _public_resolver()
        connector = aiohttp.TCPConnector(limit=MOST_AT_ONCE, limit_per_host=_MOST_PER_HOST, resolver=resolver)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        return aiohttp.ClientSession(connector=connector, timeout=timeout, headers={"user-agent": "modelyard-webhook"})

    async def close(self) -> None:
        """Let go of connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def is_public(address: str) -> bool:
    """Is this an IP address of the public internet?"""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip.is_global and not ip.is_multicast


async def _refuse_private(url: str) -> None:
    # The client does not ask its resolver about addresses that are written as numbers.
    host = urlsplit(url).hostname or ""
    try:
        good = is_public(host)
    except ValueError:
        return
    if not good:
        raise OSError(f"{host} is not an address of the public internet")


def _public_resolver() -> aiohttp.abc.AbstractResolver:
    import aiohttp

    class PublicResolver(aiohttp.ThreadedResolver):
        """Names of hosts as the system resolves them, private addresses left out."""

        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[aiohttp.abc.ResolveResult]:
            found = [result for result in await super().resolve(host, port, family) if is_public(result["host"])]
            if not found:
                raise OSError(errno.EADDRNOTAVAIL, f"{host} has no address of the public internet")
            return found

    return PublicResolver()
