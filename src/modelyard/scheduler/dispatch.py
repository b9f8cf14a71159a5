"""Who runs what: waiting predictions go to free slots, and what they do there comes back as moves of their records."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import shutil
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard import errors
from modelyard.predictions.record import Status
from modelyard.predictions.service import CANCEL_GRACE_SECONDS, Predictions
from modelyard.scheduler import queue
from modelyard.scheduler.fleet import Fleet
from modelyard.scheduler.instance import Instance
from modelyard.scheduler.pool import Pool
from modelyard_runner import protocol

if TYPE_CHECKING:
    from modelyard.predictions.live import Live

log = logging.getLogger(__name__)

_LOOKED_EVERY_SECONDS = 0.5


class Dispatcher:
    """The queue's side of the machine; what `predictions.service.Queue` asks for."""

    def __init__(
        self,
        *,
        fleet: Fleet,
        predictions: Predictions,
        scratch: Path,
        on_backlog: Callable[[Pool], None],
        contained: bool = False,
    ) -> None:
        self._fleet = fleet
        self._predictions = predictions
        self._scratch = scratch
        self._on_backlog = on_backlog
        # Instances see nothing of this host but their own folders: input files are put there.
        self._contained = contained
        self._tasks: set[asyncio.Task[None]] = set()
        self.open = False  # nothing is sent before adopted workers have said what they hold
        self.kill: Callable[[Instance, str], None] = lambda instance, reason: None

    # -- what predictions ask for

    def offer(self, live: Live) -> None:
        """A prediction waits: send it at once where a slot is free, else queue it."""
        pool = self._fleet.pool((live.record.model_id, live.record.version_id))
        if self.open and not len(pool.queue):
            instance = pool.free_instance()
            if instance is not None:
                self._send(instance, live)
                return
        pool.queue.push_live(live, self._fleet.monotonic())
        self._on_backlog(pool)

    def withdraw(self, live: Live) -> bool:
        """It waits no longer; False when an instance has it."""
        if live.record.instance_id is not None:
            return False
        self._fleet.pool((live.record.model_id, live.record.version_id)).queue.remove(live.id)
        return True

    def stop(self, live: Live) -> None:
        """Ask the instance to stop it; what does not obey within the grace period ends with its instance."""
        instance = self._fleet.instances.get(live.record.instance_id or "")
        if instance is None or live.id not in instance.running or live.cancel_sent:
            return
        live.cancel_sent = True
        if instance.channel is not None:
            instance.channel.send({"kind": "cancel", "id": live.id})
        asyncio.get_running_loop().call_later(CANCEL_GRACE_SECONDS, self._end_by_force, instance, live)

    def _end_by_force(self, instance: Instance, live: Live) -> None:
        if instance.running.get(live.id) is live and instance.id in self._fleet.instances:
            self.kill(
                instance, f"its prediction {live.id} did not stop within {CANCEL_GRACE_SECONDS:g} s of being canceled"
            )

    # -- sending

    def dispatch(self, pool: Pool) -> None:
        """Fill the free slots of a pool."""
        if not self.open:
            return
        while len(pool.queue):
            instance = pool.free_instance()
            if instance is None:
                return
            prediction_id = pool.queue.pop()
            if prediction_id is None:
                break
            live = self._predictions.lives.get(prediction_id)
            if live is None:
                self._in_background(self._revive(pool, instance, prediction_id))
            elif live.record.status is Status.STARTING and live.record.instance_id is None and not live.ending:
                self._send(instance, live)
        if pool.queue.more and not pool.refilling and len(pool.queue) < queue.PAGE:
            self._on_backlog(pool)

    async def _revive(self, pool: Pool, instance: Instance, prediction_id: str) -> None:
        instance.reserved += 1
        try:
            live = await self._predictions.revive(prediction_id)
        finally:
            instance.reserved -= 1
        if live is not None and live.record.instance_id is None and not live.ending:
            if instance.free > 0:
                self._send(instance, live)
            else:
                pool.queue.push_live(live, self._fleet.monotonic())
        self.dispatch(pool)

    def _send(self, instance: Instance, live: Live) -> None:
        if (problem := self._predictions.hidden.reveal(live)) is not None:
            self._predictions.end(live, Status.FAILED, error=errors.sentences(str(problem), problem.hint))
            return
        instance.take(live, self._fleet.monotonic())
        live.handed_at = math.inf
        claimed = self._predictions.claim(live, instance.id)
        put = bool(live.input_files) and (self._contained or self._predictions.bring is not None)
        if claimed is None and len(live.record.input) <= protocol.INLINE_LIMIT and not put:
            self._send_now(instance, live, None, live.input_files)
        else:
            self._in_background(self._send_when_ready(instance, live, claimed))

    async def _send_when_ready(self, instance: Instance, live: Live, claimed: asyncio.Future[int] | None) -> None:
        if claimed is not None and await claimed == 0:
            # Another node was faster, or it has ended: it is not ours.
            instance.give_back(live.id, self._fleet.monotonic())
            self._predictions.lives.pop(live.id, None)
            return
        problem = await self._bring(live)
        path: Path | None = None
        files: Mapping[str, str] = live.input_files
        try:
            if problem is None and not live.cancel_sent:
                path, files = await self._put_down(instance, live)
        except OSError as error:
            problem = f"The input could not be stored: {error.strerror or error}"
        if instance.running.get(live.id) is not live:
            return
        if problem is None and not live.cancel_sent:
            self._send_now(instance, live, path, files)
            return
        instance.give_back(live.id, self._fleet.monotonic())
        # Its worker knows nothing of it yet, so nobody else says that it was canceled.
        self._predictions.end(live, Status.CANCELED if live.cancel_sent else Status.FAILED, error=problem)
        self.dispatch(self._fleet.pool(instance.key))

    async def _bring(self, live: Live) -> str | None:
        """Have the files of its input on this machine. Gives why that cannot be."""
        if live.input_files and self._predictions.bring is not None:
            try:
                await _unless_canceled(live, self._predictions.bring(live.input_files))
            except (errors.ModelyardError, OSError) as error:
                return f"A file of the input could not be fetched: {error}"
        return None

    async def _put_down(self, instance: Instance, live: Live) -> tuple[Path | None, Mapping[str, str]]:
        """Have what its worker is to read where that sees it: a long input, and the files. Raises OSError."""
        folder = self._scratch / instance.id / "inputs"
        path: Path | None = None
        files: Mapping[str, str] = live.input_files
        if len(live.record.input) > protocol.INLINE_LIMIT:
            path = folder / f"{live.id}.json"
            await asyncio.to_thread(_write, path, live.record.input)
        if self._contained and files:
            files = await asyncio.to_thread(_put, folder / live.id, files)
        return path, files

    def _send_now(self, instance: Instance, live: Live, spilled: Path | None, files: Mapping[str, str]) -> None:
        channel = instance.channel
        if channel is None:
            return  # it lost its link in between; what it holds is settled when it dials again
        record = live.record
        parts = [
            b'{"kind":"',
            b"train" if record.kind == "training" else b"predict",
            b'","id":"',
            record.id.encode(),
            b'"',
        ]
        if spilled is None:
            parts += [b',"input":', record.input]
        else:
            parts += [b',"input_file":', msgspec.json.encode(str(spilled))]
        if live.secrets:
            parts += [b',"secrets":', msgspec.json.encode(live.secrets)]
        if record.context:
            parts += [b',"context":', msgspec.json.encode(record.context)]
        if files:
            parts += [b',"files":', msgspec.json.encode(files)]
        parts.append(b"}")
        channel.send_raw(b"".join(parts))
        live.handed_at = self._fleet.monotonic()

    def fail_waiting(self, pool: Pool, error: str, log_text: str = "") -> None:
        """End all that wait here, also those of which only the row is left; what comes later waits for the next try."""
        waiting = pool.queue.ids()
        for prediction_id in waiting:
            pool.queue.remove(prediction_id)
        if waiting:
            self._in_background(self._fail(waiting, error, log_text))

    async def _fail(self, prediction_ids: list[str], error: str, log_text: str) -> None:
        for prediction_id in prediction_ids:
            live = await self._predictions.revive(prediction_id)
            if live is None or live.record.instance_id is not None or live.ending:
                continue
            if log_text:
                live.journal.add_log(log_text)
            self._predictions.end(live, Status.FAILED, error=error)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a prediction could not be sent: %s", error, exc_info=error)


async def _unless_canceled(live: Live, work: Coroutine[Any, Any, None]) -> None:
    """Wait for it, which may take as long as a large file does, and give it up when it is for nothing."""
    task = asyncio.ensure_future(work)
    try:
        while not live.cancel_sent and not (await asyncio.wait([task], timeout=_LOOKED_EVERY_SECONDS))[0]:
            pass
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
    if not task.cancelled():
        task.result()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _put(folder: Path, files: Mapping[str, str]) -> dict[str, str]:
    """The same files below `folder`, which costs nothing where they are on the same disk."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for number, (text, path) in enumerate(files.items()):
        target = folder / str(number)
        target.unlink(missing_ok=True)
        try:
            os.link(path, target)
        except OSError:
            shutil.copyfile(path, target)
        found[text] = str(target)
    return found
