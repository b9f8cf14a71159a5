"""The loop that makes what is into what should be: observe pools and instances, decide, act. `tick` is one pass."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from modelyard import ids
from modelyard.engines.base import Engine, EngineError, Limits, Spec
from modelyard.errors import ModelyardError, sentences
from modelyard.predictions.live import Live
from modelyard.predictions.progress import Progress
from modelyard.predictions.record import Status
from modelyard.predictions.service import Predictions
from modelyard.scheduler import autoscale, placement
from modelyard.scheduler.dispatch import Dispatcher
from modelyard.scheduler.fleet import Fleet
from modelyard.scheduler.instance import Instance, Key, State
from modelyard.scheduler.logbook import Logbook
from modelyard.scheduler.placement import Inventory
from modelyard.scheduler.pool import Blueprint, Pool, Workplace
from modelyard.scheduler.reports import Reports
from modelyard.timeouts import run_error

log = logging.getLogger(__name__)

TICK_SECONDS = 0.25
# How long a model without room waits for those that work before one of them has to give way.
TURN_SECONDS = 5.0
# Why a pool cannot start an instance now, for people; it is over with the next start.
NO_ROOM = "other models are using this host"
# A run this long has its journal written to the disk at every pass.
JOURNAL_AFTER_SECONDS = 0.5
STOP_GRACE_SECONDS = 5.0
# A worker that was given a prediction this long ago says that it began, unless the model's code keeps it from that.
BEGUN_SECONDS = 1.0
# What ended instances left is taken away this often.
UPKEEP_SECONDS = 600.0


class Reconciler:
    """Starts and stops instances, watches their times, writes down what long runs have said."""

    def __init__(
        self,
        *,
        fleet: Fleet,
        predictions: Predictions,
        progress: Progress,
        dispatcher: Dispatcher,
        logbook: Logbook,
        engine: Engine,
        inventory: Inventory,
        describe: Callable[[Key], Awaitable[Blueprint]],
        folder: Path,
        link_address: str,
        clock: Callable[[], int],
    ) -> None:
        self._fleet = fleet
        self._predictions = predictions
        self._progress = progress
        self._dispatcher = dispatcher
        self._logbook = logbook
        self._upkeep_at = 0.0
        self.reports: Reports  # set by the scheduler, which makes both
        self._engine = engine
        self._inventory = inventory
        self._describe = describe
        self._folder = folder
        self._link_address = link_address
        self._clock = clock
        self._workplaces: dict[str, Workplace] = {}
        # Predictions whose journal could not be written when it was last tried; said once.
        self._unwritten: set[str] = set()
        self._tasks: set[asyncio.Future[None]] = set()
        self.wake = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Pass after pass until `stop` is set."""
        while not stop.is_set():
            try:
                self.tick()
            except Exception:  # one bad pass must not be the last
                log.exception("a pass of the reconciler failed")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.wake.wait(), TICK_SECONDS)
            self.wake.clear()

    def tick(self) -> None:
        """One pass."""
        now = self._fleet.monotonic()
        for pool in list(self._fleet.pools.values()):
            self._scale(pool, now)
        for instance in list(self._fleet.instances.values()):
            self._look_after(instance, now)
        if now >= self._upkeep_at:
            self._upkeep_at = now + UPKEEP_SECONDS
            self._in_background(self._tidy())

    async def _tidy(self) -> None:
        """Take away what ended instances left."""
        await asyncio.to_thread(self._logbook.sweep, self._fleet.instances, self._predictions.lives)

    # -- pools

    def _scale(self, pool: Pool, now: float) -> None:
        if not pool.instances and not len(pool.queue):
            return
        if pool.blueprint is None:
            self._learn(pool)
            return
        bounds = pool.blueprint.bounds
        present = len([i for i in pool.instances.values() if i.state is not State.DRAINING])
        idle = [i for i in pool.instances.values() if i.state is State.IDLE]
        idle.sort(key=lambda instance: instance.since)
        for instance in idle[: autoscale.surplus([now - i.since for i in idle], present, bounds)]:
            if not len(pool.queue):
                self.drain(instance, "idle")
        wanted = autoscale.desired(pool.seen(now), bounds)
        if wanted > present and now >= pool.retry_at:
            self._place(pool, pool.blueprint, now)

    def _learn(self, pool: Pool) -> None:
        if pool.refilling:
            return
        pool.refilling = True
        self._in_background(self._learn_about(pool))

    async def _learn_about(self, pool: Pool) -> None:
        try:
            pool.blueprint = await self._describe(pool.key)
        except ModelyardError as error:
            pool.problem = sentences(str(error), error.hint)
            self._dispatcher.fail_waiting(pool, pool.problem)
        finally:
            pool.refilling = False
            self.wake.set()

    def _place(self, pool: Pool, blueprint: Blueprint, now: float) -> None:
        # Turns are for who has nothing: a pool does not grow at the cost of what works, its own instances least of all.
        newcomer = all(instance.state is State.DRAINING for instance in pool.instances.values())
        decision = placement.place(
            self._inventory,
            self._fleet.allocations(but_working=pool.instances.keys()),
            blueprint.hardware,
            waited_seconds=pool.queue.oldest_wait(now) if newcomer else 0.0,
            turn_seconds=TURN_SECONDS,
        )
        if decision.limits is not None:
            self._start(pool, blueprint, decision.limits)
        elif decision.never is not None:
            pool.problem = decision.never
            self._dispatcher.fail_waiting(pool, decision.never)
        elif (victim := decision.stop or decision.drain) is not None:
            pool.problem = NO_ROOM
            self.drain(self._fleet.instances[victim], "another model needs its room")

    # -- starting

    def _start(self, pool: Pool, blueprint: Blueprint, limits: Limits) -> None:
        token = ids.new_token()
        instance = Instance(
            id=ids.new_id(), key=pool.key, limits=limits, token_hash=ids.token_hash(token), now=self._fleet.monotonic()
        )
        if pool.problem == NO_ROOM:
            pool.problem = None
        self._fleet.add(instance)
        self._in_background(self._bring_up(instance, blueprint, token))

    async def _bring_up(self, instance: Instance, blueprint: Blueprint, token: str) -> None:
        try:
            await self._fleet.record(instance, blueprint.hardware)
            self._logbook.note(instance.id, "starting")
            workplace = await blueprint.prepare(instance.id, lambda line: self.reports.said(instance, f"{line}\n"))
            self._workplaces[instance.id] = workplace
            if not await self._equip(instance, blueprint):
                self.release(instance)
                return
            spec = Spec(
                instance=instance.id,
                python=workplace.python,
                source=workplace.source,
                folders=workplace.folders,
                ref=blueprint.ref,
                scratch=self._folder / instance.id,
                cache=blueprint.cache,
                link=self._link_address,
                token=token,
                limits=instance.limits,
                environment=blueprint.environment,
                secrets=instance.secrets,
                mode=blueprint.mode,
                concurrency=blueprint.concurrency,
                reconnect_seconds=blueprint.reconnect_seconds,
                private_urls=blueprint.private_urls,
                image=workplace.image,
                unread=instance.unread,
            )
            handle = await self._engine.start(spec)
            instance.process_started = True
            instance.pid = 0 if self._engine.contained else handle.pid
            instance.since = self._fleet.monotonic()
            self._fleet.started(instance, handle.pid, handle.started_at)
        except (ModelyardError, EngineError, OSError) as error:
            said = f"The model could not be started: {error}"
            self.reports.setup_failed(instance, sentences(said, getattr(error, "hint", None)))
            self.reports.ended(instance, str(error))

    async def _equip(self, instance: Instance, blueprint: Blueprint) -> bool:
        """Give it its secrets as they are now. False: it was called off meanwhile, maybe because they changed."""
        secrets = await blueprint.secrets(instance.id)
        if secrets.sealed is not None and instance.id in self._fleet.instances:
            instance.give(secrets.values)
            await self._fleet.given(instance, secrets.sealed)
        return instance.id in self._fleet.instances

    def retire(self, model_id: str) -> None:
        """What the instances of a model have is out of date: each ends when it is done; new ones start as needed."""
        for instance in list(self._fleet.instances.values()):
            if instance.key[0] == model_id:
                self.drain(instance, "the secrets of its model changed")
        for pool in self._fleet.pools.values():
            if pool.key[0] == model_id:
                pool.retry_at = 0.0
        self.wake.set()

    def keep(self, instance: Instance, workplace: Workplace) -> None:
        """An adopted instance has this workplace."""
        self._workplaces[instance.id] = workplace

    def release(self, instance: Instance) -> None:
        """An instance is gone: its workplace may go."""
        workplace = self._workplaces.pop(instance.id, None)
        if workplace is not None:
            workplace.release()

    # -- instances

    def _look_after(self, instance: Instance, now: float) -> None:
        blueprint = self._fleet.pool(instance.key).blueprint
        if instance.state is State.STARTING and instance.process_started and blueprint is not None:
            timeout = blueprint.setup_timeout_seconds
            if now - instance.since > timeout:
                self.reports.setup_failed(instance, f"Setup did not finish within {timeout:g} seconds.")
        if instance.state is State.DRAINING and not instance.running and instance.end_reason is None:
            self.kill(instance, "drained")
        for live in instance.held_up(now, BEGUN_SECONDS):
            if live.record.status is Status.STARTING and not live.ending:
                self._predictions.started(live, now - live.handed_at)
        at = self._clock()
        for live in list(instance.running.values()):
            started_at, timeout_seconds = live.record.started_at, live.record.run_timeout_seconds
            if started_at is None or live.ending:
                continue
            seconds = (at - started_at) / 1e6
            if timeout_seconds is not None and seconds > timeout_seconds:
                self.reports.hear_out(instance)
                self._predictions.end(live, Status.FAILED, error=run_error(timeout_seconds))
                self._dispatcher.stop(live)
            elif seconds > JOURNAL_AFTER_SECONDS and (live.journal.unsafe or not live.noted):
                self._write_down(instance, live)
        self.reports.acknowledge(instance)
        self._sweep(instance)

    def _sweep(self, instance: Instance) -> None:
        """Take away what the worker left beside its frames for predictions that are committed."""
        for kind in ("predictions", "inputs"):
            left = self._folder / instance.id / kind
            try:
                names = [folder.name for folder in left.iterdir()]
            except OSError:
                continue
            for name in names:
                if name.partition(".")[0] not in self._predictions.lives:
                    self._in_background(asyncio.to_thread(_take_away, left / name))

    def _write_down(self, instance: Instance, live: Live) -> None:
        try:
            self._predictions.note_progress(live)
        except OSError as error:
            if live.id not in self._unwritten:
                self._unwritten.add(live.id)
                log.error("a journal cannot be written for now: %s", error, extra={"prediction_id": live.id})
            return
        self._unwritten.discard(live.id)
        if self._progress.busy(live):
            instance.unsafe[live.id] = live.journal.seq + 1
        else:
            instance.unsafe.pop(live.id, None)

    def drain(self, instance: Instance, reason: str) -> None:
        """Nothing new for it; it stops when what it runs has ended."""
        if instance.state in (State.IDLE, State.BUSY, State.STARTING):
            log.debug("draining: %s", reason, extra={"instance_id": instance.id})
            instance.become(State.DRAINING, self._fleet.monotonic())
            if not instance.running:
                self.kill(instance, reason)

    def kill(self, instance: Instance, reason: str) -> None:
        """End its process; its death is reported by the engine, with this reason."""
        if instance.end_reason is None:
            instance.end_reason = reason
        if not instance.process_started:
            self.reports.ended(instance, reason)
            return
        grace = STOP_GRACE_SECONDS if instance.state is State.DRAINING and not instance.running else 0.0
        if instance.channel is not None and grace:
            instance.channel.send({"kind": "shutdown", "grace": grace})
        self._in_background(self._engine.stop(instance.id, grace))

    def _in_background(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a background task of the reconciler failed: %s", error, exc_info=error)


def _take_away(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
