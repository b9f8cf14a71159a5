"""The use cases of predictions: create, get, list, cancel, and the moves between; `commits` writes them down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from modelyard import errors, ids
from modelyard.db.base import Database, Row
from modelyard.predictions import journal as journals
from modelyard.predictions import listing, statements
from modelyard.predictions import record as records
from modelyard.predictions.commits import Commits, about, log_failure
from modelyard.predictions.hidden import Hidden
from modelyard.predictions.live import Live
from modelyard.predictions.ports import NewPrediction, Outbox, Queue
from modelyard.predictions.record import Prediction, Status
from modelyard.predictions.tally import Tally
from modelyard.sealing import Sealer

log = logging.getLogger(__name__)

# A cancelled prediction whose code does not stop is ended with its instance after this time.
CANCEL_GRACE_SECONDS = 10.0


class Predictions:
    """All predictions of this node. One event loop only."""

    def __init__(
        self,
        *,
        db: Database,
        folder: Path,
        clock: Callable[[], int],
        node: str,
        has_room: Callable[[], bool] | None = None,
        sealer: Sealer | None = None,
    ) -> None:
        self._db = db
        self._folder_text = str(folder)
        self._clock = clock
        self._has_room = has_room
        self.node = node
        self.hidden = Hidden(sealer)
        self.epoch = 0
        self.lives: dict[str, Live] = {}
        self.queue: Queue | None = None
        # Finds the bytes of an input that was read back from its row: string of the input → absolute path.
        self.locate: Callable[[Prediction], Awaitable[dict[str, str]]] | None = None
        # Where blobs lie on another machine: has the files of an input on this one.
        self.bring: Callable[[Mapping[str, str]], Coroutine[Any, Any, None]] | None = None
        self._commits = Commits(db, self.lives)
        self._commits.on_unstored = self._withdraw
        # Rows of ended ones were changed by others: what memory says of their outcomes holds no longer.
        self.forget = self._commits.forget

    @property
    def tally(self) -> Tally:
        """How they ended since this process started."""
        return self._commits.tally

    @property
    def outbox(self) -> Outbox | None:
        """Where webhooks go."""
        return self._commits.outbox

    @outbox.setter
    def outbox(self, outbox: Outbox) -> None:
        self._commits.outbox = outbox

    def _withdraw(self, live: Live) -> None:
        if self.queue is not None and not self.queue.withdraw(live):
            self.queue.stop(live)

    # -- create

    def create(self, new: NewPrediction, *, wait: bool, stream: bool = False) -> Live:
        """Accept a prediction. The caller must not be answered before `await live.committed()` (or `.finished()`).

        `wait`: the caller is answered after its end. `stream`: the caller reads along; what it says would have to wait
        for the commit, so it starts after it, and the two do not get into each other's way. Raises OutOfSpace when
        the disk is nearly full, SealError where its secrets cannot be sealed.
        """
        if self._has_room is not None and not self._has_room():
            raise errors.OutOfSpace(
                "The yard's disk is nearly full; no new predictions are accepted until there is room."
            )
        now = self._clock()
        prediction_id = ids.new_id()
        record = Prediction(
            id=prediction_id,
            kind=new.kind,
            account_id=new.account_id,
            model_id=new.model_id,
            model=new.model,
            version_id=new.version_id,
            deployment=new.deployment,
            source=new.source,
            input=new.input,
            logs=new.notes,
            webhook=new.webhook,
            webhook_events=new.webhook_events,
            context=new.context,
            created_at=now,
            deadline_at=None if new.cancel_after_seconds is None else now + int(new.cancel_after_seconds * 1_000_000),
            run_timeout_seconds=new.run_timeout_seconds,
            secrets=self.hidden.seal(prediction_id, new.secrets) if new.secrets else None,
        )
        if log.isEnabledFor(logging.DEBUG):
            log.debug("a prediction is accepted", extra=about(record))
        live = self._hold(record)
        live.input_files = new.input_files
        if wait and record.deadline_at is None:
            live.waited = True
            self._commits.store_later(live)
        else:
            self._commits.store(live)
        if stream and live.stored is not None:
            live.stored.add_done_callback(lambda _: self._offer(live))
        else:
            self._offer(live)
        return live

    def _offer(self, live: Live) -> None:
        waits = live.failure is None and not live.ending and live.record.instance_id is None
        if waits and self.queue is not None:
            self.queue.offer(live)

    def _hold(self, record: Prediction, journal: journals.Journal | None = None) -> Live:
        live = Live(record, journal or journals.Journal(_journal_in(self._folder_text, record.id)))
        _begin_log(live)
        self.lives[record.id] = live
        if record.deadline_at is not None:
            delay = max(0.0, (record.deadline_at - self._clock()) / 1e6)
            live.timers.append(asyncio.get_running_loop().call_later(delay, self._cancel, live, Status.ABORTED))
        return live

    def journal_path(self, prediction_id: str) -> Path:
        """Where the journal of a prediction is, when it has a file."""
        return Path(_journal_in(self._folder_text, prediction_id))

    async def revive(self, prediction_id: str) -> Live | None:
        """A waiting prediction, in memory again; None when it has ended or is gone."""
        live = self.lives.get(prediction_id)
        if live is not None:
            return live
        if self._commits.recent(prediction_id, self._clock()) is not None:
            return None
        row = await self._db.one(statements.GET, id=prediction_id)
        live = self.lives.get(prediction_id)
        if live is not None or row is None:
            return live
        record = statements.from_row(row)
        if record.terminal:
            return None
        input_files = {} if self.locate is None else await self.locate(record)
        live = self.lives.get(prediction_id) or self._hold(record)
        live.inserted = True
        live.input_files = input_files
        return live

    # -- moves of the scheduler

    def claim(self, live: Live, instance: str) -> asyncio.Future[int] | None:
        """An instance takes it. Where other nodes share the database, the future says (1) that it is really ours."""
        live.record = records.claim(live.record, node=self.node, epoch=self.epoch, instance=instance)
        if not live.inserted:
            return None
        if self._db.dialect == "sqlite":
            self._commits.claim_later(live)
            return None
        return self._commits.claim(live)

    def started(self, live: Live, seconds_ago: float = 0.0) -> None:
        """The model's code began; the row follows when it matters (`note_progress`)."""
        live.record = records.start(live.record, self._clock() - int(seconds_ago * 1e6))
        if self.outbox is not None and live.record.webhook is not None:
            self.outbox.touched(live, "start")
        live.changed()

    def note_progress(self, live: Live) -> None:
        """Write down what a long run has said: its journal to the file, its start to the row. Raises OSError."""
        live.journal.write()
        if live.inserted and not live.ending and not live.noted:
            live.noted = True
            record = live.record
            note = self._db.run_nowait(
                statements.START,
                {"id": record.id, "started_at": record.started_at, "lease_node": record.lease_node, "journal": 1},
            )
            note.add_done_callback(log_failure)

    def requeue(self, live: Live, *, count: bool) -> None:
        """Its worker is gone through no fault of its own: back to the queue, or failed after the last attempt."""
        if live.ending:
            return
        if count and live.record.attempts >= records.MAX_ATTEMPTS:
            self.end(
                live, Status.FAILED, error=f"Its worker was lost {live.record.attempts} times; it is not tried again."
            )
            return
        if live.record.cancel_requested_at is not None:
            self.end(live, Status.CANCELED)
            return
        lease_node = live.record.lease_node
        live.record = records.requeue(live.record, count=count)
        live.journal.reset()
        _begin_log(live)
        live.metrics = {}
        live.mask = None
        live.secrets = {}
        live.cancel_sent = live.noted = live.iterates = False
        if not live.inserted:
            self._commits.store(live)
        else:
            values = {"id": live.id, "attempts": live.record.attempts, "lease_node": lease_node}
            self._db.run_nowait(statements.REQUEUE, values).add_done_callback(log_failure)
        if self.queue is not None:
            self.queue.offer(live)
        live.changed()

    # -- the end

    def end(
        self,
        live: Live,
        status: Status,
        *,
        output: bytes | None = None,
        error: str | None = None,
        seconds: float | None = None,
    ) -> None:
        """Commit an outcome, then show it. The first outcome stands; later ones are dropped."""
        if live.ending or live.record.terminal:
            return
        live.ending = True
        at = self._clock()
        metrics = {**live.metrics}
        if live.record.started_at is not None:
            metrics["predict_time"] = round((at - live.record.started_at) / 1e6, 6) if seconds is None else seconds
        metrics["total_time"] = round((at - live.record.created_at) / 1e6, 6)
        journal = live.journal
        if live.mask is not None:
            error = None if error is None else live.mask.whole(error)
            if held := live.mask.rest():
                journal.add_log(held)
        if journal.written:
            # Whoever wants all of a long log reads the file, and memory with its last lines is let go of.
            journal.write_if_possible()
        if output is None and journal.items:
            output = journal.output()
        record = records.finish(
            live.record,
            status,
            at,
            output=output,
            error=error,
            logs=journal.log() if journal.log_bytes else "",
            metrics=msgspec.json.encode(metrics),
            journal=journal.written,
        )
        self._commits.end(live, record)

    # -- cancel

    async def cancel(self, prediction_id: str) -> Prediction | None:
        """Ask it to stop; gives the record as it is then (canceled at once when it was waiting). None: unknown id."""
        live = await self.revive(prediction_id)
        if live is None:
            return await self.get(prediction_id)
        self._cancel(live, Status.CANCELED)
        if live.ending:
            await live.finished(5.0)
        return live.record

    def _cancel(self, live: Live, if_waiting: Status) -> None:
        if live.ending or live.record.terminal:
            return
        if self.queue is None or self.queue.withdraw(live):
            self.end(live, if_waiting)
            return
        if live.record.cancel_requested_at is None:
            live.record = records.ask_cancel(live.record, self._clock())
            if live.inserted:
                values = {"id": live.id, "cancel_requested_at": live.record.cancel_requested_at}
                self._db.run_nowait(statements.ASK_CANCEL, values).add_done_callback(log_failure)
        self.queue.stop(live)

    # -- read

    async def get(self, prediction_id: str) -> Prediction | None:
        """The record, newest state that may be shown; None when there is none."""
        live = self.lives.get(prediction_id)
        if live is not None:
            await live.committed()
            return live.present()
        recent = self._commits.recent(prediction_id, self._clock())
        if recent is not None:
            return recent
        row = await self._db.one(statements.GET, id=prediction_id)
        return None if row is None else statements.from_row(row)

    async def list(
        self, wanted: listing.Filter, *, limit: int, before: listing.Cursor | None = None
    ) -> list[Prediction]:
        """A page of what `wanted` holds, newest first, without logs; `before`: the last seen (created_at, id)."""
        found: list[Prediction] = []
        while True:
            statement, values = listing.query(wanted, limit=limit, before=before)
            rows = await self._db.all(statement, **values)
            records = [_newest(row, self.lives.get(row["id"])) for row in rows]
            found += [record for record in records if wanted.shows(record)]
            if len(found) >= limit or len(rows) < limit:
                return found[:limit]
            before = (rows[-1]["created_at"], rows[-1]["id"])

    def read_journal(self, record: Prediction) -> journals.Journal:
        """The journal of a prediction that is not in memory, for reading: its file, or what its row says."""
        path = self.journal_path(record.id)
        if record.journal and path.exists():
            return journals.load(path)[0]
        journal = journals.Journal(path)
        if record.logs:
            journal.add(journals.LOG, msgspec.json.encode(record.logs))
        if record.output is not None:
            add_items(journal, record.output)
        return journal

    # -- after a restart

    async def open_rows(self) -> Sequence[Live]:
        """Predictions that instances had when this yard last ran, in memory again with what their journals hold."""
        lives = []
        for row in await self._db.all(statements.OPEN_ROWS):
            record = statements.from_row(row)
            journal, facts = journals.load(self.journal_path(record.id))
            live = self._hold(record, journal)
            live.iterates = journal.items > 0
            live.inserted = True
            live.input_files = {} if self.locate is None else await self.locate(record)
            for fact in facts:
                if fact.kind == journals.METRIC:
                    records.record_metric(live.metrics, *msgspec.json.decode(fact.body))
            lives.append(live)
        return lives

    async def stop(self) -> None:
        """Write down what memory alone holds, before this process ends."""
        for live in list(self.lives.values()):
            self._commits.write_due(live)
            if live.journal.unsafe and live.record.instance_id is not None:
                self.note_progress(live)
        stored = [live.stored for live in self.lives.values() if live.stored is not None]
        if stored:
            await asyncio.gather(*stored, return_exceptions=True)


def _journal_in(folder: str, prediction_id: str) -> str:
    return f"{folder}/{prediction_id[-2:]}/{prediction_id}.journal"


def _newest(row: Row, live: Live | None) -> Prediction:
    """What memory holds of a row is newer, unless the row has its outcome already."""
    record = statements.from_row(row)
    return record if live is None or record.terminal else live.record


def _begin_log(live: Live) -> None:
    """What was said of it when it was accepted, which its row has, stands before all else."""
    if live.record.logs and not live.journal.end:
        live.journal.add_log(live.record.logs)


def add_items(journal: journals.Journal, output: bytes) -> None:
    """Append an output to a journal: a list's items one by one, anything else as one."""
    if output[:1] == b"[":
        journal.add_output(output, len(msgspec.json.decode(output, type=list[msgspec.Raw])))
    else:
        journal.add_output(b"[%b]" % output, 1)
