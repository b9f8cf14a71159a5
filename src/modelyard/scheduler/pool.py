"""A pool: the instances of one version, the predictions that wait for them, and what an instance needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from modelyard.engines.base import Image
from modelyard.scheduler.autoscale import Bounds, Seen
from modelyard.scheduler.instance import Instance, Key, State
from modelyard.scheduler.placement import Hardware
from modelyard.scheduler.queue import Queue


class Workplace(Protocol):
    """A version made ready on this host for one instance."""

    @property
    def python(self) -> Path: ...
    @property
    def source(self) -> Path: ...
    @property
    def folders(self) -> Sequence[tuple[Path, str]]:
        """What else the model is to see, and at which absolute paths."""

    @property
    def image(self) -> Image | None:
        """What a container is made of, for engines with containers."""

    @property
    def release(self) -> Callable[[], None]:
        """To be called when the instance is gone: its working copy may go, and its version may be collected."""


class Secrets(Protocol):
    """What instances are given that nobody else may see."""

    @property
    def values(self) -> Mapping[str, str]: ...
    @property
    def sealed(self) -> str | None:
        """The same as it may be kept; None when there is nothing."""


class Vault(Protocol):
    """Where the secrets of models are."""

    async def of(self, model_id: str) -> Mapping[str, str]:
        """Those of a model now. Raises ModelyardError."""

    def given(self, instance_id: str, sealed: str) -> Mapping[str, str]:
        """What an instance was given, from what was kept. Raises ModelyardError."""


class NoSecrets(NamedTuple):
    """What an instance is given of which nobody said anything."""

    values: Mapping[str, str] = {}
    sealed: str | None = None


async def _nothing(instance: str) -> Secrets:
    return NoSecrets()


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """What instances of a version need. `prepare(instance, report)` makes a workplace and reports lines of progress.

    `secrets(instance)` reads, at each start anew, what goes into its environment besides.
    """

    hardware: Hardware
    ref: str
    cache: Path
    prepare: Callable[[str, Callable[[str], None]], Awaitable[Workplace]]
    bounds: Bounds = field(default_factory=Bounds)
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Callable[[str], Awaitable[Secrets]] = _nothing
    mode: str = "predict"
    concurrency: int | None = None
    setup_timeout_seconds: float = 600.0
    reconnect_seconds: float = 60.0
    private_urls: bool = True


class Pool:
    """All that belongs to one version on this node. `now` arguments are seconds of a monotonic clock."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.queue = Queue()
        self.instances: dict[str, Instance] = {}
        self.blueprint: Blueprint | None = None
        self.problem: str | None = None  # why no instance can be started now, for people
        self.failures = 0
        self.retry_at = 0.0
        self.refilling = False

    def free_instance(self) -> Instance | None:
        """The instance that takes the next prediction: the fullest with a free slot, so that others can go idle."""
        best, least = None, 0
        for instance in self.instances.values():
            free = instance.free
            if free > 0 and (best is None or free < least):
                best, least = instance, free
        return best

    def seen(self, now: float) -> Seen:
        """What the autoscaler judges by."""
        states = [instance.state for instance in self.instances.values()]
        ready = [i for i in self.instances.values() if i.state in (State.IDLE, State.BUSY)]
        return Seen(
            waiting=len(self.queue),
            running=sum(len(instance.running) for instance in ready),
            oldest_wait_seconds=self.queue.oldest_wait(now),
            starting=states.count(State.STARTING),
            ready=len(ready),
            slots=max(
                (instance.concurrency for instance in ready),
                default=(self.blueprint.concurrency or 1) if self.blueprint else 1,
            ),
        )
