"""What predictions leave behind, taken away: outputs, logs and inputs of those that ended; on demand their rows.

Files go first, the row after them: a row that still promises its files is found again by the next pass, while files
without a row would lie there for ever. What a prediction that has not ended names in its input is left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from modelyard import ids
from modelyard.blobs.base import Blobs, Listed
from modelyard.db.base import Database, Statement, Tx
from modelyard.files import Files
from modelyard.predictions.inputs import Inputs, Named, file_key, named, output_key
from modelyard.predictions.record import Prediction
from modelyard.predictions.service import Predictions
from modelyard.predictions.statements import OPEN
from modelyard.uses import Uses

# Predictions looked at, and rows written, at a time: other writers wait for no more than this.
BATCH = 250

# Its row is what a webhook that is still to be sent is made of; an example stands on its model's page.
_NEEDED = (
    " AND p.id NOT IN (SELECT prediction_id FROM webhooks WHERE delivered_at IS NULL AND failed_at IS NULL)"
    " AND p.id NOT IN (SELECT default_example_id FROM models WHERE default_example_id IS NOT NULL)"
)
_LINKS = "CASE WHEN p.input LIKE '%/files/%' OR p.input LIKE '%\\/%' ESCAPE '!' THEN p.input ELSE '' END"


def _ended(name: str, condition: str) -> Statement:
    return Statement(
        name,
        f"SELECT p.id, p.account_id, p.model, p.completed_at, p.journal, {_LINKS} AS links,"  # noqa: S608
        " LENGTH(p.input) + COALESCE(LENGTH(p.output), 0) + COALESCE(LENGTH(p.logs), 0) AS row_bytes"
        f" FROM predictions p WHERE p.id > :after AND p.id < :until AND NOT {OPEN}"
        f" AND p.completed_at < :before{condition}{_NEEDED} ORDER BY p.id LIMIT :limit",
    )


_WITH_DATA = _ended("ended_predictions_with_data", " AND p.data_removed = 0")
_ENDED = _ended("ended_predictions", "")
_EMPTY = Statement(
    "remove_prediction_data",
    "UPDATE predictions SET input = '{}', output = NULL, logs = NULL, secrets = NULL, context = NULL, journal = 0,"  # noqa: S608
    f" data_removed = 1 WHERE id = :id AND NOT {OPEN}",
    by_key=True,
)
_DELETE = Statement(
    "remove_prediction_row",
    f"DELETE FROM predictions WHERE id = :id AND NOT {OPEN}",  # noqa: S608
    by_key=True,
)
_DELETE_WEBHOOKS = Statement("remove_prediction_webhooks", "DELETE FROM webhooks WHERE prediction_id = :id")
_FORGET_EXAMPLE = Statement(
    "forget_example", "UPDATE models SET default_example_id = NULL WHERE default_example_id = :id"
)
_OPEN_INPUTS = Statement(
    "open_inputs",
    f"SELECT id, input FROM predictions WHERE {OPEN} AND id > :after"  # noqa: S608
    " AND (input LIKE '%/files/%' OR input LIKE '%/outputs/%' OR input LIKE '%\\/%' ESCAPE '!')"
    " ORDER BY id LIMIT :limit",
)


# Asked for many at once.
_ASKED = 100
_ANY_OF = f"IN ({', '.join(f':id{number}' for number in range(_ASKED))})"
_OWNERS = {
    "files": Statement("files_that_are", f"SELECT id FROM files WHERE id {_ANY_OF}"),  # noqa: S608
    "outputs": Statement(
        "predictions_with_data",
        f"SELECT id FROM predictions WHERE data_removed = 0 AND id {_ANY_OF}",  # noqa: S608
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A prediction that ended. `links`: its input, where that may name files; `row_bytes`: what its row holds of data.

    `journal`: has it a file beside its row; `model`: its model's full name; `completed_at`: microseconds since 1970.
    """

    id: str
    account_id: str
    model: str
    completed_at: int
    links: str
    row_bytes: int
    journal: int


@dataclass(slots=True, kw_only=True)
class Removed:
    """What became of a batch: the ids that are done, and why others failed. The rest is in use."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


class Removal:
    """Finds what ended long ago and removes its data. `uses`: the inputs that callers are about to name."""

    def __init__(self, *, db: Database, blobs: Blobs, files: Files, predictions: Predictions, uses: Uses) -> None:
        self._db = db
        self._blobs = blobs
        self._files = files
        self._predictions = predictions
        self._uses = uses

    async def ended(self, before: int, *, after: str = "", with_data: bool = True) -> list[Ended]:
        """The next batch of those that ended before this moment, by id, `after` the last one seen.

        `with_data`: only those whose data is still here.
        """
        statement = _WITH_DATA if with_data else _ENDED
        rows = await self._db.all(statement, after=after, until=ids.first_at(before), before=before, limit=BATCH)
        return [Ended(**row) for row in rows]

    async def wanted(self) -> Named:
        """The files and outputs that predictions that have not ended name in their inputs."""
        found = Named()
        after = ""
        while rows := await self._db.all(_OPEN_INPUTS, after=after, limit=BATCH):
            for row in rows:
                found.add(named(row["input"]))
            after = rows[-1]["id"]
        self.add_living(found)
        return found

    def add_living(self, found: Named) -> None:
        """Add what the predictions in memory name, whether they have a row yet or not."""
        for live in self._predictions.lives.values():
            if not live.record.terminal and Inputs.may_hold_links(live.record.input):
                found.add(named(live.record.input.decode("utf-8", "replace")))

    async def ownerless(self, before: int) -> list[Listed]:
        """Files and outputs, put before this moment (microseconds since 1970), that no row stands for: their yard was
        ended between the two. Walks all of them."""
        found = []
        for kind, statement in _OWNERS.items():
            old = [blob for blob in await self._blobs.list(kind) if blob.modified < before]
            named = sorted({_owner(blob) for blob in old} - self._predictions.lives.keys())
            known = {_owner(blob) for blob in old} - set(named)
            for first in range(0, len(named), _ASKED):
                some = named[first : first + _ASKED]
                some += some[-1:] * (_ASKED - len(some))
                rows = await self._db.all(statement, **{f"id{number}": each for number, each in enumerate(some)})
                known.update(row["id"] for row in rows)
            found += [blob for blob in old if _owner(blob) not in known]
        return found

    async def measure(self, batch: Sequence[Ended]) -> dict[str, int]:
        """The bytes that each one's removal would free, by id: output files, journal, row."""
        sizes = {ended.id: ended.row_bytes for ended in batch}
        for blob in await self._blobs.list(*map(_prefix, batch)):
            sizes[_owner(blob)] += blob.size
        paths = {ended.id: self._predictions.journal_path(ended.id) for ended in batch if ended.journal}
        for prediction_id, size in (await asyncio.to_thread(_sizes, paths)).items():
            sizes[prediction_id] += size
        return sizes

    async def remove_data(self, batch: Sequence[Ended], wanted: Named, since: float) -> Removed:
        """Remove inputs, outputs and logs of these; their documents say `data_removed` from then on.

        `wanted`: what must stay for others; `since`: what was used after it (the loop's time) stays too.
        """
        return await self._remove(batch, wanted, since, self._empty_rows)

    async def remove(self, record: Prediction) -> bool:
        """Remove one that ended as if it had never been. False: it has not ended, or others name what it made.

        Raises OSError.
        """
        if not record.terminal:
            return False
        ended = Ended(
            id=record.id,
            account_id=record.account_id,
            model=record.model,
            completed_at=record.completed_at or 0,
            links=record.input.decode("utf-8", "replace"),
            row_bytes=0,
            journal=int(record.journal),
        )
        outcome = await self.remove_rows([ended], await self.wanted(), asyncio.get_running_loop().time())
        if outcome.failed:
            raise OSError(outcome.failed[record.id])
        return bool(outcome.done)

    async def remove_rows(self, batch: Sequence[Ended], wanted: Named, since: float) -> Removed:
        """Remove these as if they had never been, with their data."""
        return await self._remove(batch, wanted, since, self._delete_rows)

    async def _remove(
        self, batch: Sequence[Ended], wanted: Named, since: float, write: Callable[[Tx, list[str]], None]
    ) -> Removed:
        outcome = Removed()
        free = [ended for ended in batch if ended.id not in wanted.outputs]
        taken = [ended for ended in free if self._uses.take(_prefix(ended), since)]
        try:
            # Most have no files, and asking for each by itself is most of the work.
            with_outputs = {_owner(blob) for blob in await self._blobs.list(*map(_prefix, taken))}
            for ended in taken:
                try:
                    if ended.id in with_outputs:
                        await self._blobs.delete_below(_prefix(ended))
                    await self._remove_others(ended, wanted, since)
                except OSError as error:
                    outcome.failed[ended.id] = f"{error.strerror or error}: {error.filename or _prefix(ended)}"
                else:
                    outcome.done.append(ended.id)
            if outcome.done:
                await self._db.transaction(partial(_for_all, write, outcome.done))
            self._predictions.forget(outcome.done)
        finally:
            for ended in taken:
                self._uses.gone(_prefix(ended))
        return outcome

    async def _remove_others(self, ended: Ended, wanted: Named, since: float) -> None:
        if ended.journal:
            await asyncio.to_thread(self._predictions.journal_path(ended.id).unlink, missing_ok=True)
        for file_id in named(ended.links).files - wanted.files if ended.links else ():
            await self._remove_inline(ended.account_id, file_id, since)

    async def _remove_inline(self, account_id: str, file_id: str, since: float) -> None:
        file = await self._files.inline(account_id, file_id)
        if file is not None and self._uses.take(file_key(file_id), since):
            try:
                await self._files.expire(file)
            finally:
                self._uses.gone(file_key(file_id))

    @staticmethod
    def _empty_rows(tx: Tx, done: list[str]) -> None:
        for prediction_id in done:
            tx.run(_EMPTY, {"id": prediction_id})
            tx.run(_DELETE_WEBHOOKS, {"id": prediction_id})

    @staticmethod
    def _delete_rows(tx: Tx, done: list[str]) -> None:
        for prediction_id in done:
            for statement in (_DELETE_WEBHOOKS, _FORGET_EXAMPLE, _DELETE):
                tx.run(statement, {"id": prediction_id})


def _owner(blob: Listed) -> str:
    return blob.key.split("/")[1]


def _prefix(ended: Ended) -> str:
    return output_key(ended.id)


def _sizes(paths: Mapping[str, Path]) -> dict[str, int]:
    found = {}
    for name, path in paths.items():
        with contextlib.suppress(OSError):
            found[name] = path.stat().st_size
    return found


def _for_all(write: Callable[[Tx, list[str]], None], done: list[str], tx: Tx) -> None:
    write(tx, done)
