"""The machine as others see it: pools and instances turned into plain data."""

from __future__ import annotations

from collections.abc import Callable

from modelyard.machine import Outlook, PastInstance, Seen, SeenInstance, SeenPool
from modelyard.scheduler.fleet import Fleet
from modelyard.scheduler.instance import Instance, State
from modelyard.scheduler.logbook import Logbook
from modelyard.scheduler.placement import Inventory


class View:
    """Looks at a fleet and changes nothing."""

    def __init__(self, fleet: Fleet, inventory: Inventory, logbook: Logbook, *, contained: bool) -> None:
        self._fleet = fleet
        self._inventory = inventory
        self._logbook = logbook
        self._contained = contained
        self.stopping = False  # what runs may finish, nothing new is started

    def observe(self) -> Seen:
        """What there is now: instances in the order of their start, pools that have instances, waiters or a problem."""
        now = self._fleet.monotonic()
        return Seen(
            instances=tuple(self._instance(each, now) for each in self._fleet.instances.values()),
            pools=tuple(
                SeenPool(
                    model_id=pool.key[0],
                    version_id=pool.key[1],
                    waiting=len(pool.queue),
                    oldest_wait_seconds=pool.queue.oldest_wait(now),
                    problem=pool.problem,
                )
                for pool in self._fleet.pools.values()
                if len(pool.queue) or pool.instances or pool.problem
            ),
            cores=self._inventory.cores,
            memory_bytes=self._inventory.memory_bytes,
            gpus=tuple(gpu.uuid for gpu in self._inventory.gpus),
            setups=dict(self._fleet.setups),
        )

    def outlook(self, model_id: str, version_id: str, prediction_id: str) -> Outlook:
        """What this prediction waits for."""
        pool = self._fleet.pools.get((model_id, version_id))
        if pool is None:
            return Outlook(before=0, starting=None, problem=None)
        now = self._fleet.monotonic()
        starting = next((each for each in pool.instances.values() if each.state is State.STARTING), None)
        return Outlook(
            before=pool.queue.before(prediction_id),
            starting=None if starting is None else self._instance(starting, now),
            problem=pool.problem,
        )

    async def past(self, instance_id: str) -> PastInstance | None:
        """An instance that has ended; None for any other."""
        return await self._fleet.past(instance_id)

    async def ended(self, *, owner: str | None, limit: int) -> list[PastInstance]:
        """Those that ended, the last one first; of one owner's models, or of all."""
        return await self._fleet.ended(owner=owner, limit=limit)

    def log(self, instance_id: str) -> Log:
        """The log of an instance, one that has ended included."""
        return Log(self._fleet, self._logbook, instance_id)

    def _instance(self, instance: Instance, now: float) -> SeenInstance:
        limits = instance.limits
        return SeenInstance(
            id=instance.id,
            model_id=instance.key[0],
            version_id=instance.key[1],
            state=instance.state.value,
            since_seconds=max(0.0, now - instance.since),
            concurrency=instance.concurrency,
            memory_bytes=limits.memory_bytes,
            cpus=limits.cpus,
            gpus=limits.gpus,
            running=tuple(instance.running),
            said=_last_line("".join(instance.setup_log)) if instance.state is State.STARTING else "",
            contained=self._contained,
        )


class Log:
    """The log of one instance."""

    def __init__(self, fleet: Fleet, logbook: Logbook, instance: str) -> None:
        self._fleet = fleet
        self._logbook = logbook
        self._instance = instance

    @property
    def ended(self) -> bool:
        """Will nothing more be said?"""
        return self._instance not in self._fleet.instances

    def read(self, offset: int) -> tuple[bytes, int]:
        """Some of what stands behind `offset`, and the offset behind that; empty when there is no more."""
        return self._logbook.read(self._instance, offset)

    def tail(self, lines: int) -> int:
        """The offset at which the last `lines` lines begin."""
        return self._logbook.tail(self._instance, lines)

    def follow(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener()` after every addition, and after the end, until the returned function is called."""
        return self._logbook.follow(self._instance, listener)


def _last_line(text: str) -> str:
    lines = text.rstrip().splitlines()
    return lines[-1].strip() if lines else ""
