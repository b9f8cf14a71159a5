"""What goes by age: the data of predictions, uploaded files, and, where that is wanted, predictions themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from modelyard.blobs.base import Blobs
from modelyard.files import File, Files
from modelyard.housekeeping.policy import GRACE_SECONDS, SECOND, Policy
from modelyard.predictions.inputs import Named, file_key, output_key
from modelyard.predictions.removal import BATCH, Ended, Removal, Removed
from modelyard.upkeep import Item, Report
from modelyard.uses import Uses

# An input that somebody looked for so shortly before stays: its prediction may be on its way.
_USED_SECONDS = 60.0

Remove = Callable[[Sequence[Ended], Named, float], Awaitable[Removed]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One cleaning: its rules, the time it is (microseconds since 1970), whether anything goes at all; its report."""

    policy: Policy
    now: int
    dry_run: bool
    report: Report


class Data:
    """Cleans what rows stand for, a batch at a time."""

    def __init__(self, removal: Removal, files: Files, blobs: Blobs, uses: Uses) -> None:
        self._removal = removal
        self._files = files
        self._blobs = blobs
        self._uses = uses
        # Only a yard that was ended leaves bytes without a row, so they are looked for once in its life.
        self._looked_for_ownerless = False

    async def clean(self, run: Run) -> None:
        """Whole predictions, then outputs of others, then files."""
        since = asyncio.get_running_loop().time() - _USED_SECONDS
        wanted = await self._removal.wanted()
        await self._rows(run, wanted, since)
        await self._predictions(run, wanted, since)
        await self._old_files(run, wanted, since)
        if not self._looked_for_ownerless:
            await self._ownerless(run)
            self._looked_for_ownerless = not run.dry_run

    async def _ownerless(self, run: Run) -> None:
        for blob in await self._removal.ownerless(run.now - GRACE_SECONDS * SECOND):
            item = Item(kind="leftovers", name=blob.key, bytes=blob.size, why="the yard was ended before its row was")
            if not run.dry_run:
                try:
                    await self._blobs.delete(blob.key)
                except OSError as error:
                    run.report.fail(item.kind, item.name, f"{error.strerror or error}")
                    continue
            run.report.add(item)

    async def _predictions(self, run: Run, wanted: Named, since: float) -> None:
        keep = run.policy.keep_outputs

        def item(ended: Ended, size: int) -> Item:
            why = run.policy.why_old("ended", ended.completed_at, run.now, "keep_outputs")
            return Item(kind="outputs", name=f"{ended.id} {ended.model}", bytes=size, why=why)

        before, whole = keep.before(run.now), run.policy.keep_predictions.before(run.now)
        after = ""
        while batch := await self._removal.ended(before, after=after):
            after = batch[-1].id
            # A dry run leaves those here that went with their rows.
            batch = [ended for ended in batch if ended.completed_at >= whole]
            await self._batch(run, batch, (wanted, since), item, self._removal.remove_data)

    async def _rows(self, run: Run, wanted: Named, since: float) -> None:
        keep = run.policy.keep_predictions

        def item(ended: Ended, size: int) -> Item:
            why = run.policy.why_old("ended", ended.completed_at, run.now, "keep_predictions")
            return Item(kind="predictions", name=f"{ended.id} {ended.model}", bytes=size, why=why)

        before = keep.before(run.now)
        after = ""
        while batch := await self._removal.ended(before, after=after, with_data=False):
            after = batch[-1].id
            await self._batch(run, batch, (wanted, since), item, self._removal.remove_rows)

    async def _batch(
        self,
        run: Run,
        batch: Sequence[Ended],
        held: tuple[Named, float],
        item: Callable[[Ended, int], Item],
        remove: Remove,
    ) -> None:
        wanted, since = held
        sizes = await self._removal.measure(batch)
        items = {ended.id: item(ended, sizes[ended.id]) for ended in batch}
        self._removal.add_living(wanted)
        if run.dry_run:
            going = [
                ended.id
                for ended in batch
                if ended.id not in wanted.outputs and not self._uses.used(output_key(ended.id), since)
            ]
        else:
            outcome = await remove(batch, wanted, since)
            going = outcome.done
            for prediction_id, problem in outcome.failed.items():
                run.report.fail(items[prediction_id].kind, items[prediction_id].name, problem)
        for prediction_id in going:
            run.report.add(items[prediction_id])

    async def _old_files(self, run: Run, wanted: Named, since: float) -> None:
        keep = run.policy.keep_files
        before = keep.before(run.now)
        after = ""
        while batch := await self._files.old(before, after=after, limit=BATCH):
            after = batch[-1].id
            self._removal.add_living(wanted)
            for file in batch:
                if file.id not in wanted.files:
                    await self._file(run, file, since)

    async def _file(self, run: Run, file: File, since: float) -> None:
        why = run.policy.why_old("uploaded", file.created_at, run.now, "keep_files")
        item = Item(kind="files", name=f"{file.id} {file.name}", bytes=file.size, why=why)
        if run.dry_run and not self._uses.used(file_key(file.id), since):
            run.report.add(item)
        elif not run.dry_run and self._uses.take(file_key(file.id), since):
            try:
                await self._files.expire(file)
            except OSError as error:
                run.report.fail(item.kind, item.name, f"{error.strerror or error}")
            else:
                run.report.add(item)
            finally:
                self._uses.gone(file_key(file.id))
