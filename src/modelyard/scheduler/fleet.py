"""All pools and instances of this node, and the rows that remember the instances across restarts."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Container, Mapping
from typing import Any

from modelyard import measures
from modelyard.db.base import Database, Row, Statement
from modelyard.engines.base import Limits
from modelyard.machine import PastInstance, Setups
from modelyard.scheduler import statements
from modelyard.scheduler.instance import GONE, Instance, Key, State
from modelyard.scheduler.placement import Allocation, Hardware
from modelyard.scheduler.pool import Pool

log = logging.getLogger(__name__)


class Fleet:
    """What there is. `clock` gives microseconds since 1970, `monotonic` seconds."""

    def __init__(
        self, *, db: Database, node: str, clock: Callable[[], int], monotonic: Callable[[], float], engine: str
    ) -> None:
        self._db = db
        self._node = node
        self._clock = clock
        self._engine = engine
        self.monotonic = monotonic
        self.pools: dict[Key, Pool] = {}
        self.instances: dict[str, Instance] = {}
        self._by_token: dict[str, Instance] = {}
        self.setups: dict[str, Setups] = {}

    def pool(self, key: Key) -> Pool:
        """The pool of a version, made when it is first asked for."""
        pool = self.pools.get(key)
        if pool is None:
            pool = self.pools[key] = Pool(key)
        return pool

    def setups_of(self, instance: Instance) -> Setups:
        """Where it is counted how setups of its model end."""
        return self.setups.setdefault(measures.within(self.setups, instance.key[0]), Setups())

    def by_token(self, token_hash: str) -> Instance | None:
        """The instance whose worker has this token."""
        return self._by_token.get(token_hash)

    def allocations(self, *, but_working: Container[str] = ()) -> list[Allocation]:
        """What each instance holds; those of `but_working` count as working also while they are idle."""
        now = self.monotonic()
        return [
            Allocation(
                instance=instance.id,
                limits=instance.limits,
                idle_seconds=now - instance.since
                if instance.state is State.IDLE and instance.id not in but_working
                else None,
                busy_seconds=now - instance.since,
            )
            for instance in self.instances.values()
        ]

    def add(self, instance: Instance) -> None:
        """An instance belongs to its pool from now on."""
        self.pool(instance.key).instances[instance.id] = instance
        self.instances[instance.id] = instance
        self._by_token[instance.token_hash] = instance

    async def record(self, instance: Instance, hardware: Hardware) -> None:
        """Write a new instance down, before its process exists."""
        model_id, version_id = instance.key
        limits = instance.limits
        await self._db.run(
            statements.ADD_INSTANCE,
            {
                "id": instance.id,
                "node": self._node,
                "pool": f"{model_id}/{version_id}",
                "model_id": model_id,
                "version_id": version_id,
                "engine": self._engine,
                "state": instance.state.value,
                "token_hash": instance.token_hash,
                "hardware": hardware.sku,
                "memory_bytes": limits.memory_bytes,
                "cpus": limits.cpus,
                "gpus": json.dumps(limits.gpus),
                "created_at": self._clock(),
            },
        )

    async def given(self, instance: Instance, sealed: str) -> None:
        """Write down, sealed, what its environment will hold, before its process exists."""
        await self._db.run(statements.GIVEN_INSTANCE, {"id": instance.id, "secrets": sealed})

    def started(self, instance: Instance, pid: int, pid_started: float) -> None:
        """Its process exists."""
        self._write(statements.STARTED_INSTANCE, {"id": instance.id, "pid": pid, "pid_started": pid_started})

    def ready(self, instance: Instance) -> asyncio.Future[int]:
        """Its setup is done."""
        values = {"id": instance.id, "concurrency": instance.concurrency, "ready_at": self._clock()}
        return self._write(statements.READY_INSTANCE, values)

    def remove(self, instance: Instance, state: State, error: str | None) -> None:
        """It is gone, for good."""
        if instance.state not in GONE:
            instance.become(state, self.monotonic())
        self.instances.pop(instance.id, None)
        self._by_token.pop(instance.token_hash, None)
        self.pool(instance.key).instances.pop(instance.id, None)
        values = {"id": instance.id, "state": state.value, "stopped_at": self._clock(), "error": error}
        self._write(statements.END_INSTANCE, values)

    def _write(self, statement: Statement, values: Mapping[str, Any]) -> asyncio.Future[int]:
        future = self._db.run_nowait(statement, values)
        future.add_done_callback(_log_failure)
        return future

    async def past(self, instance_id: str) -> PastInstance | None:
        """An instance that has ended; None for any other."""
        row = await self._db.one(statements.ENDED_INSTANCE, id=instance_id)
        return None if row is None else _past(row)

    async def ended(self, *, owner: str | None, limit: int) -> list[PastInstance]:
        """Those that ended, the last one first; of one owner's models, or of all."""
        rows = await self._db.all(statements.ENDED_INSTANCES, owner=owner or "", limit=limit)
        return [_past(row) for row in rows]

    async def remembered(self) -> list[Instance]:
        """The instances that an earlier life of this yard left; they are not in the fleet yet."""
        found = []
        for row in await self._db.all(statements.OPEN_INSTANCES, node=self._node):
            instance = Instance(
                id=row["id"],
                key=(row["model_id"], row["version_id"]),
                limits=Limits(
                    memory_bytes=row["memory_bytes"], cpus=row["cpus"], gpus=tuple(json.loads(row["gpus"] or "[]"))
                ),
                token_hash=row["token_hash"],
                now=self.monotonic(),
            )
            instance.adopted = instance.process_started = True
            instance.concurrency = row["concurrency"] or 1
            instance.sealed = row["secrets"]
            if row["ready_at"] is not None:
                instance.state = State.IDLE
            found.append(instance)
        return found


def _past(row: Row) -> PastInstance:
    names = ("id", "model_id", "version_id", "state", "memory_bytes", "cpus", "created_at", "ready_at", "stopped_at")
    known = {name: row[name] for name in names}
    return PastInstance(**known, gpus=tuple(json.loads(row["gpus"] or "[]")), error=row["error"])


def _log_failure(future: asyncio.Future[int]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        log.error("an instance's row could not be written: %s", error)
