"""When rows and outcomes of predictions are written, and what follows from their commits.

Accepted means kept: a prediction's row is committed before its caller is answered, and its outcome before anybody
sees it. A caller that waits has been promised nothing yet: its row may wait up to `SHARED_COMMIT_SECONDS` to share one
commit with its outcome, and its run starts meanwhile. Which instance has a prediction is written as late where one
process has the database: most outcomes are faster, and a worker says itself what it holds.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from functools import partial

from modelyard.db.base import Database, Params, Statement, Tx
from modelyard.errors import ModelyardError
from modelyard.predictions import record as records
from modelyard.predictions import statements
from modelyard.predictions.live import Live
from modelyard.predictions.ports import Outbox
from modelyard.predictions.record import Prediction, Status
from modelyard.predictions.tally import Tally

log = logging.getLogger(__name__)

SHARED_COMMIT_SECONDS = 0.01
# Outcomes that callers who did not wait ask for in a moment: as many as these, short ones only, for so long.
MAX_RECENT = 512
MAX_RECENT_BYTES = 16 * 1024
RECENT_SECONDS = 5
# Waiting predictions kept whole in memory; beyond, the row is enough until their turn comes.
MAX_WAITING_IN_MEMORY = 2000
RETRY_SECONDS = 0.5


class Commits:
    """Writes for one node's predictions. `lives`: those in memory, shared with the service."""

    def __init__(self, db: Database, lives: dict[str, Live]) -> None:
        self._db = db
        self._lives = lives
        self._due: deque[tuple[float, Live]] = deque()
        self._sweeping = False
        self._telling: set[asyncio.Future[None]] = set()
        self._recent: OrderedDict[str, Prediction] = OrderedDict()
        self.tally = Tally()
        self.outbox: Outbox | None = None
        # Told of a prediction whose row could not be written: it must leave the queue or its instance.
        self.on_unstored: Callable[[Live], None] | None = None

    # -- rows

    def store_later(self, live: Live) -> None:
        """Write its row in a moment, unless its outcome comes first and brings it along."""
        loop = asyncio.get_running_loop()
        self._due.append((loop.time() + SHARED_COMMIT_SECONDS, live))
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(SHARED_COMMIT_SECONDS, self._sweep)

    def claim_later(self, live: Live) -> None:
        """Write down in a moment which instance has it, unless its outcome comes first."""
        live.claim_due = True
        self.store_later(live)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time() + 0.0002
        while self._due and self._due[0][0] <= now:
            self.write_due(self._due.popleft()[1])
        if self._due:
            loop.call_at(self._due[0][0], self._sweep)
        else:
            self._sweeping = False

    def write_due(self, live: Live) -> None:
        """Write what its row lacks, if it still does."""
        if live.ending:
            return
        if not live.inserted:
            self.store(live)
        elif live.claim_due and live.record.instance_id is not None:
            self.claim(live).add_done_callback(log_failure)

    def claim(self, live: Live) -> asyncio.Future[int]:
        """Write down which instance has it; 0: it is not ours."""
        live.claim_due = False
        return self._db.run_nowait(statements.CLAIM, statements.claim_params(live.record))

    def store(self, live: Live) -> None:
        """Write its row now."""
        live.inserted = True
        live.claim_due = False
        live.stored = self._db.run_nowait(statements.INSERT, statements.values(live.record))
        live.stored.add_done_callback(partial(self._stored, live))

    def _stored(self, live: Live, stored: asyncio.Future[int]) -> None:
        error = None if stored.cancelled() else stored.exception()
        if error is None:
            if not live.waited and len(self._lives) > MAX_WAITING_IN_MEMORY:
                self._release(live)
            return
        log.error("a prediction could not be stored: %s", error, extra={"prediction_id": live.id})
        live.failure = error
        self._lives.pop(live.id, None)
        if self.on_unstored is not None:
            self.on_unstored(live)
        live.changed()

    def _release(self, live: Live) -> None:
        """Let a waiting prediction go from memory when its row is enough."""
        waiting = live.record.status is Status.STARTING and live.record.instance_id is None and not live.ending
        if waiting and not live.watched and not live.timers and not live.journal.end and not live.input_files:
            self._lives.pop(live.id, None)

    # -- outcomes

    def end(self, live: Live, record: Prediction) -> None:
        """Write an outcome, with its webhook; it is shown when that is committed."""
        rows = self.outbox.rows(record, "completed") if self.outbox is not None and record.webhook is not None else ()
        values: Params
        if live.inserted:
            write, values = statements.FINISH, statements.finish_params(record)
        else:
            write, values = statements.INSERT, statements.values(record)
        live.inserted = True
        then = partial(self._ended, live, record, write is statements.INSERT)
        if rows:
            telling = asyncio.ensure_future(self._end_and_tell([(write, values), *rows], then))
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)
        else:
            self._db.run_then(write, values, then)

    async def _end_and_tell(
        self, writes: list[tuple[Statement, Params]], then: Callable[[int, BaseException | None], None]
    ) -> None:
        try:
            count = await self._db.transaction(partial(_run_all, writes))
        except (ModelyardError, asyncio.CancelledError) as error:
            then(0, error)
        else:
            then(count, None)

    def _ended(self, live: Live, record: Prediction, inserting: bool, count: int, error: BaseException | None) -> None:
        if error is not None and inserting and live.waited:
            # Nobody was promised anything: the caller is told, and nothing of it remains.
            live.failure = error
            self._lives.pop(record.id, None)
            live.journal.close()
            live.changed()
            return
        if error is not None:
            log.error("an outcome could not be stored, trying again: %s", error, extra={"prediction_id": record.id})
            if inserting:
                live.inserted = False
            loop = asyncio.get_running_loop()
            loop.call_later(RETRY_SECONDS, self.end, live, record)
            return
        if count:
            live.record = record
            self.tally.ended(record)
            if log.isEnabledFor(logging.DEBUG):
                log.debug("a prediction has ended: %s", record.status.value, extra=about(record))
            if not live.waited:
                self._remember(record)
        else:
            log.warning("an outcome came too late and was dropped", extra={"prediction_id": record.id})
            live.failure = records.IllegalMove(f"prediction {record.id} had ended already")
        self._lives.pop(record.id, None)
        live.journal.close()
        if self.outbox is not None and record.webhook is not None:
            self.outbox.wake()
        live.changed()

    def _remember(self, record: Prediction) -> None:
        if len(record.input) + len(record.output or b"") + len(record.logs) <= MAX_RECENT_BYTES:
            self._recent[record.id] = record
            if len(self._recent) > MAX_RECENT:
                self._recent.popitem(last=False)

    def recent(self, prediction_id: str, now: int) -> Prediction | None:
        """The record of one that ended a moment before `now` (microseconds since 1970), if it is remembered."""
        record = self._recent.get(prediction_id)
        if record is None or (record.completed_at or 0) + RECENT_SECONDS * 1_000_000 < now:
            return None
        return record

    def forget(self, prediction_ids: Iterable[str]) -> None:
        """Remember these no longer: their rows were changed by others."""
        for prediction_id in prediction_ids:
            self._recent.pop(prediction_id, None)


def _run_all(statements_and_params: list[tuple[Statement, Params]], tx: Tx) -> int:
    counts = [tx.run(statement, values) for statement, values in statements_and_params]
    return int(counts[0])


def about(record: Prediction) -> dict[str, str]:
    """What a line of the log that is about a prediction says it is about."""
    found = {"prediction_id": record.id, "model": record.model}
    return found if record.instance_id is None else {**found, "instance_id": record.instance_id}


def log_failure(future: asyncio.Future[int]) -> None:
    """Say that a write failed that nobody waits for."""
    if not future.cancelled() and (error := future.exception()) is not None:
        log.error("a row could not be written: %s", error)
