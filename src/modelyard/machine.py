"""What runs on this node, as data: what the scheduler shows of itself to pages, commands and meters.

Doors know these shapes and the protocol; the scheduler makes them; `app` hands one to the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from modelyard.measures import LATENCIES, Histogram

# Of a line of a model's setup that stands in a sentence.
SAID_CHARACTERS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenInstance:
    """One instance. `state`: starting, idle, busy, draining. `said`: the last line of its setup, while it starts.

    `since_seconds`: how long it has been in its state. `running`: the ids of the predictions that it runs.
    `contained`: is it a container, and no process of this host?
    """

    id: str
    model_id: str
    version_id: str
    state: str
    since_seconds: float
    concurrency: int
    memory_bytes: int
    cpus: float
    gpus: tuple[str, ...]
    running: tuple[str, ...]
    said: str
    contained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PastInstance:
    """One that has ended. `state`: stopped, failed. `error`: why. Times in microseconds since 1970."""

    id: str
    model_id: str
    version_id: str
    state: str
    memory_bytes: int
    cpus: float
    gpus: tuple[str, ...]
    created_at: int
    ready_at: int | None
    stopped_at: int
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenPool:
    """The queue of one version. `problem`: why nothing can be started for it now, in words."""

    model_id: str
    version_id: str
    waiting: int
    oldest_wait_seconds: float
    problem: str | None


class Setups:
    """How setups of one model ended since this process started: `ready`, in seconds from the process's start."""

    __slots__ = ("failed", "ready")

    def __init__(self) -> None:
        self.ready = Histogram(LATENCIES)
        self.failed = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All of it at one moment. The host's memory in bytes, its GPUs by their identifiers; setups by a model's id."""

    instances: tuple[SeenInstance, ...]
    pools: tuple[SeenPool, ...]
    cores: int
    memory_bytes: int
    gpus: tuple[str, ...]
    setups: Mapping[str, Setups] = field(default_factory=dict)

    @property
    def waiting(self) -> int:
        """Predictions that wait for an instance."""
        return sum(pool.waiting for pool in self.pools)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a waiting prediction waits for: those before it in its pool's queue, an instance that starts, a problem."""

    before: int
    starting: SeenInstance | None
    problem: str | None

    @property
    def phase(self) -> str:
        """`setup` while an instance starts for it, else `queued`."""
        return "queued" if self.starting is None or self.problem else "setup"

    @property
    def words(self) -> str:
        """The same for people, as one line."""
        if self.problem:
            return f"waiting: {self.problem}"
        if self.starting is not None:
            what = self.starting.said or ("its container" if self.starting.contained else "its process")
            return f"starting the model: {what[:SAID_CHARACTERS]}, {self.starting.since_seconds:.0f} s"
        return f"waiting, {self.before} before this one" if self.before else "waiting for an instance"


class InstanceLog(Protocol):
    """What one instance says outside of predictions. Offsets are bytes; what was dropped of a long log counts."""

    @property
    def ended(self) -> bool:
        """Will nothing more be said?"""

    def read(self, offset: int) -> tuple[bytes, int]:
        """Some of what stands behind `offset`, and the offset behind that; empty when there is no more."""

    def tail(self, lines: int) -> int:
        """The offset at which the last `lines` lines begin."""

    def follow(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener()` after every addition, and after the end, until the returned function is called."""


class Machine(Protocol):
    """The scheduler, for those who look."""

    def observe(self) -> Seen:
        """What there is now."""

    def outlook(self, model_id: str, version_id: str, prediction_id: str) -> Outlook:
        """What this prediction waits for."""

    async def past(self, instance_id: str) -> PastInstance | None:
        """An instance that has ended; None for any other."""

    async def ended(self, *, owner: str | None, limit: int) -> list[PastInstance]:
        """Those that ended, the last one first; of one owner's models, or of all."""

    def log(self, instance_id: str) -> InstanceLog:
        """The log of an instance, one that has ended included."""
