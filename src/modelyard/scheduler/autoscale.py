"""How many instances a pool should have: a pure function of what is seen and the time."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the owner of a pool allows."""

    min_instances: int = 0
    max_instances: int = 4
    idle_timeout_seconds: float = 300.0
    # A backlog this old asks for one more instance than there are; younger ones are left to those that run.
    scale_up_delay_seconds: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A pool at one moment. `starting` and `ready` count instances, `slots` are places in each."""

    waiting: int
    running: int
    oldest_wait_seconds: float
    starting: int
    ready: int
    slots: int


def desired(seen: Seen, bounds: Bounds) -> int:
    """The number of instances that the pool should have now, by its work alone; idle ones are judged by `surplus`."""
    present = seen.starting + seen.ready
    work = seen.waiting + seen.running
    if not work:
        return max(bounds.min_instances, present)
    useful = math.ceil(work / max(1, seen.slots))
    wanted = max(1, present)
    if seen.ready and not seen.starting and seen.waiting and seen.oldest_wait_seconds >= bounds.scale_up_delay_seconds:
        wanted = present + 1
    return max(bounds.min_instances, present, min(wanted, useful, bounds.max_instances))


def surplus(idle_seconds: list[float], present: int, bounds: Bounds) -> int:
    """How many of the idle instances have been idle for too long and are above the minimum."""
    over = sum(1 for seconds in idle_seconds if seconds >= bounds.idle_timeout_seconds)
    return max(0, min(over, present - bounds.min_instances))
