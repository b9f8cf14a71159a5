"""The machine put together: queue, pools, instances, link and loop, and how it takes up and lays down its work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Set
from pathlib import Path

from modelyard.db.base import Database
from modelyard.engines.base import Engine, OnExit
from modelyard.errors import ModelyardError
from modelyard.predictions import statements as prediction_statements
from modelyard.predictions.progress import Progress
from modelyard.predictions.service import Predictions
from modelyard.scheduler import queue as queues
from modelyard.scheduler import statements
from modelyard.scheduler.dispatch import Dispatcher
from modelyard.scheduler.fleet import Fleet
from modelyard.scheduler.instance import Instance, Key, State
from modelyard.scheduler.link import Link
from modelyard.scheduler.logbook import Logbook
from modelyard.scheduler.placement import Inventory
from modelyard.scheduler.pool import Blueprint, Pool, Vault, Workplace
from modelyard.scheduler.reconcile import Reconciler
from modelyard.scheduler.reports import Reports
from modelyard.scheduler.view import View

log = logging.getLogger(__name__)

# Workers of an earlier life of this yard dial again within about a second; nothing new is sent before they have.
ADOPTION_SECONDS = 3.0
LAST_WORDS_SECONDS = 2.0
# Why an instance ended that nobody needs any more.
STOPPED_WITH_YARD = "the yard was stopped"


class Scheduler:
    """Everything between an accepted prediction and a worker. `folder` holds one folder an instance."""

    def __init__(
        self,
        *,
        db: Database,
        predictions: Predictions,
        progress: Progress,
        make_engine: Callable[[OnExit], Engine],
        inventory: Inventory,
        describe: Callable[[Key], Awaitable[Blueprint]],
        adopt: Callable[[str], Workplace | None],
        sweep: Callable[[Set[str]], None],
        vault: Vault | None = None,
        folder: Path,
        link_path: Path,
        link_address: str | None = None,
        clock: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._db = db
        self._predictions = predictions
        self._clock = clock
        self._adopt_workplace = adopt
        self._sweep_workplaces = sweep
        self._vault = vault
        self._engine = make_engine(self._on_exit)
        self.fleet = Fleet(db=db, node=predictions.node, clock=clock, monotonic=monotonic, engine=self._engine.name)
        self._logbook = Logbook(folder, clock)
        self.view = View(self.fleet, inventory, self._logbook, contained=self._engine.contained)
        self._dispatcher = self._make_dispatcher(predictions, folder)
        self._link = self._make_link(link_path, link_address)
        self._reconciler = Reconciler(
            fleet=self.fleet,
            predictions=predictions,
            progress=progress,
            dispatcher=self._dispatcher,
            logbook=self._logbook,
            engine=self._engine,
            inventory=inventory,
            describe=describe,
            folder=folder,
            link_address=self._link.address,
            clock=clock,
        )
        self._reports = Reports(
            fleet=self.fleet,
            predictions=predictions,
            progress=progress,
            dispatcher=self._dispatcher,
            logbook=self._logbook,
            release=self._reconciler.release,
            wake=self._reconciler.wake.set,
        )
        self._reconciler.reports = self._reports
        self._dispatcher.kill = self._reconciler.kill
        self._stop = asyncio.Event()
        self._heard: dict[str, bool] = {}
        self._loop: asyncio.Task[None] | None = None
        self._adoption: asyncio.Task[None] | None = None
        self._refilling: asyncio.Future[None] | None = None
        predictions.queue = self._dispatcher

    def _make_dispatcher(self, predictions: Predictions, folder: Path) -> Dispatcher:
        return Dispatcher(
            fleet=self.fleet,
            predictions=predictions,
            scratch=folder,
            on_backlog=self._on_backlog,
            contained=self._engine.contained,
        )

    def _make_link(self, path: Path, address: str | None) -> Link:
        return Link(
            path,
            address=address,
            find=self.fleet.by_token,
            on_hello=lambda instance, hello: self._reports.hello(instance, hello),
            on_frames=lambda instance, news: self._reports.received(instance, news),
            on_lost=lambda instance: self._reports.lost(instance),
        )

    # -- taking up

    async def open(self) -> None:
        """Take the node, find what earlier lives left, listen for workers, start the loop."""
        node = self._predictions.node
        await self._db.run(statements.NODE_EPOCH, {"id": node, "address": self._link.address, "now": self._clock()})
        row = await self._db.one(statements.GET_EPOCH, id=node)
        self._predictions.epoch = row["epoch"] if row is not None else 1
        adopted = await self._adopt()
        await self._requeue_waiting()
        await self._link.open()
        self._loop = asyncio.create_task(self._reconciler.run(self._stop))
        self._adoption = asyncio.create_task(self._open_when_settled(adopted))

    async def _adopt(self) -> list[Instance]:
        alive = {handle.instance: handle for handle in await self._engine.list()}
        remembered = {instance.id: instance for instance in await self.fleet.remembered()}
        adopted = []
        for instance in remembered.values():
            self.fleet.add(instance)
            if instance.id in alive:
                instance.pid = 0 if self._engine.contained else alive[instance.id].pid
                adopted.append(instance)
                self._recall(instance)
                workplace = self._adopt_workplace(instance.id)
                if workplace is not None:
                    self._reconciler.keep(instance, workplace)
        self._sweep_workplaces({instance.id for instance in adopted})
        for unknown in alive - remembered.keys():
            await self._engine.stop(unknown, 0.0)
        for live in await self._predictions.open_rows():
            holder = self.fleet.instances.get(live.record.instance_id or "")
            if holder is not None and holder.id in alive:
                if (problem := self._predictions.hidden.reveal(live)) is not None:
                    log.error("what it prints is withheld: %s", problem, extra={"prediction_id": live.id})
                holder.take(live, self.fleet.monotonic())
            else:
                self._predictions.requeue(live, count=True)
        for instance in remembered.values():
            if instance.id not in alive:
                self.fleet.remove(instance, State.FAILED, "it was gone when the yard started")
        return adopted

    def _recall(self, instance: Instance) -> None:
        """Find out what an earlier life gave it, to keep that out of its logs."""
        if instance.sealed is None or self._vault is None:
            return
        try:
            instance.give(self._vault.given(instance.id, instance.sealed))
        except ModelyardError as error:
            log.error("what an instance prints is withheld: %s", error, extra={"instance_id": instance.id})
            instance.withhold()

    async def _retire_outdated(self, adopted: list[Instance]) -> None:
        """The secrets of a model may have changed while its instance ran on."""
        for instance in adopted:
            if self._vault is None or instance.id not in self.fleet.instances:
                continue
            try:
                current = await self._vault.of(instance.key[0])
            except ModelyardError as error:
                log.error("secrets of a model cannot be read: %s", error)
                continue
            if current != instance.secrets:
                self._reconciler.drain(instance, "the secrets of its model changed")

    def retire(self, model_id: str) -> None:
        """The secrets of a model changed: its instances end when they are done, and new ones have what is new."""
        self._reconciler.retire(model_id)

    def forget_trouble(self, model_id: str, version_id: str) -> None:
        """The version was deleted: why it could not start is nobody's trouble any more."""
        pool = self.fleet.pools.get((model_id, version_id))
        if pool is not None:
            pool.problem = None

    async def _requeue_waiting(self) -> None:
        for row in await self._db.all(prediction_statements.WAITING_POOLS):
            pool = self.fleet.pool((row["model_id"], row["version_id"]))
            pool.queue.more = True
            await self._refill(pool)
            if pool.instances:
                # A living worker may hold one whose claim was not committed: its hello must find it.
                for prediction_id in pool.queue.ids():
                    await self._predictions.revive(prediction_id)

    async def _refill(self, pool: Pool) -> None:
        after_at, after_id = pool.queue.last
        model_id, version_id = pool.key
        rows = await self._db.all(
            prediction_statements.WAITING_PAGE,
            model_id=model_id,
            version_id=version_id,
            after_at=after_at,
            after_id=after_id,
            limit=queues.PAGE,
        )
        page = [(row["id"], row["account_id"], row["created_at"]) for row in rows]
        pool.queue.push_page(page, self.fleet.monotonic())
        for row in rows:
            if row["deadline_at"] is not None:
                await self._predictions.revive(row["id"])

    async def _open_when_settled(self, adopted: list[Instance]) -> None:
        until = self.fleet.monotonic() + ADOPTION_SECONDS
        while self.fleet.monotonic() < until and any(
            instance.adopted and instance.id in self.fleet.instances for instance in adopted
        ):
            await asyncio.sleep(0.02)
        await self._retire_outdated(adopted)
        self._dispatcher.open = True
        for pool in list(self.fleet.pools.values()):
            self._dispatcher.dispatch(pool)
        self._reconciler.wake.set()

    def _on_exit(self, instance_id: str, reason: str) -> None:
        instance = self.fleet.instances.get(instance_id)
        if instance is not None:
            self._when_heard_out(instance, reason, self.fleet.monotonic() + LAST_WORDS_SECONDS)

    def _when_heard_out(self, instance: Instance, reason: str, until: float) -> None:
        # What a dead worker sent last may still wait in the socket, and belongs before its end.
        if self._heard.get(instance.id, False) and (instance.channel is None or self.fleet.monotonic() > until):
            self._heard.pop(instance.id, None)
            self._reports.ended(instance, reason)
            return
        self._heard[instance.id] = True
        asyncio.get_running_loop().call_later(0.03, self._when_heard_out, instance, reason, until)

    def _on_backlog(self, pool: Pool) -> None:
        if pool.queue.more and not pool.refilling and len(pool.queue) < queues.PAGE:
            pool.refilling = True
            self._refilling = asyncio.ensure_future(self._refill_now(pool))
        self._reconciler.wake.set()

    async def _refill_now(self, pool: Pool) -> None:
        try:
            await self._refill(pool)
        finally:
            pool.refilling = False
        self._dispatcher.dispatch(pool)

    # -- laying down

    async def drain(self, grace: float) -> None:
        """Send nothing more; wait until what runs has ended, at most `grace` seconds."""
        self.view.stopping = True
        self._dispatcher.open = False
        until = self.fleet.monotonic() + grace
        while self.fleet.monotonic() < until and any(i.running for i in self.fleet.instances.values()):
            await asyncio.sleep(0.02)

    async def close(self, *, stop_instances: bool) -> None:
        """End the loop and the link. Instances live on to be adopted by the next yard, unless they are to stop."""
        self._dispatcher.open = False
        self._stop.set()
        self._reconciler.wake.set()
        if self._adoption is not None:
            self._adoption.cancel()
        if self._loop is not None:
            await self._loop
        await self._predictions.stop()
        for instance in list(self.fleet.instances.values()):
            self._reports.acknowledge(instance)
        if stop_instances:
            idle = [i for i in self.fleet.instances.values() if not i.running]
            for instance in idle:
                instance.end_reason = instance.end_reason or STOPPED_WITH_YARD
            await asyncio.gather(*(self._engine.stop(instance.id, 2.0) for instance in idle))
        until = self.fleet.monotonic() + LAST_WORDS_SECONDS
        while self._heard and self.fleet.monotonic() < until:
            await asyncio.sleep(0.01)
        await self._engine.close()
        await self._link.close()
