"""What the host has, what instances hold of it, and where one more fits: pure functions.

Memory and GPUs are never promised twice. Cores may be: a model that waits for its GPU or for the network uses none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from modelyard.engines.base import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """A kind of place to run on, as the API names it."""

    sku: str
    name: str
    memory_bytes: int
    cpus: float
    gpus: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU, by the identifier that CUDA_VISIBLE_DEVICES takes."""

    uuid: str
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What a host has to give. `cpu_share`: how many times its cores may be promised."""

    cores: int
    memory_bytes: int
    gpus: tuple[Gpu, ...] = ()
    cpu_share: float = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """What one instance holds, and whether it could give it back: `idle_seconds` is None while it works."""

    instance: str
    limits: Limits
    idle_seconds: float | None = None
    busy_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Limits to start with, or an instance to stop or drain first, or patience (all None); `never`: it cannot fit."""

    limits: Limits | None = None
    stop: str | None = None
    drain: str | None = None
    never: str | None = None


def _fit(inventory: Inventory, held: Iterable[Allocation], hardware: Hardware) -> Limits | None:
    memory, cpus, taken = inventory.memory_bytes, inventory.cores * inventory.cpu_share, set[str]()
    for allocation in held:
        memory -= allocation.limits.memory_bytes
        cpus -= allocation.limits.cpus
        taken.update(allocation.limits.gpus)
    free = [gpu.uuid for gpu in inventory.gpus if gpu.uuid not in taken]
    if hardware.memory_bytes > memory or hardware.cpus > cpus or hardware.gpus > len(free):
        return None
    return Limits(memory_bytes=hardware.memory_bytes, cpus=hardware.cpus, gpus=tuple(free[: hardware.gpus]))


def place(
    inventory: Inventory, held: list[Allocation], hardware: Hardware, *, waited_seconds: float, turn_seconds: float
) -> Decision:
    """Where one more instance of `hardware` goes.

    Without room the longest-idle instance whose going makes room is stopped; where all work, the one that has worked
    longest is drained once the newcomer has waited for `turn_seconds`: models take turns.
    """
    limits = _fit(inventory, held, hardware)
    if limits is not None:
        return Decision(limits=limits)
    if _fit(inventory, [], hardware) is None:
        return Decision(never=_never(inventory, hardware))
    idle = sorted((a for a in held if a.idle_seconds is not None), key=lambda a: -(a.idle_seconds or 0.0))
    gone: set[str] = set()
    for victim in idle:
        gone.add(victim.instance)
        if _fit(inventory, [a for a in held if a.instance not in gone], hardware) is not None:
            return Decision(stop=_most_useful(inventory, held, hardware, idle))
    if waited_seconds >= turn_seconds:
        busy = sorted((a for a in held if a.idle_seconds is None), key=lambda a: -a.busy_seconds)
        if idle:
            return Decision(stop=idle[0].instance)
        if busy:
            return Decision(drain=busy[0].instance)
    return Decision()


def _most_useful(inventory: Inventory, held: list[Allocation], hardware: Hardware, idle: list[Allocation]) -> str:
    for victim in idle:
        if _fit(inventory, [a for a in held if a is not victim], hardware) is not None:
            return victim.instance
    return idle[0].instance


def _never(inventory: Inventory, hardware: Hardware) -> str:
    has = f"{inventory.cores} cores, {inventory.memory_bytes / 2**30:.1f} GiB of memory and {len(inventory.gpus)} GPUs"
    wants = f"{hardware.cpus:g} cores, {hardware.memory_bytes / 2**30:.1f} GiB and {hardware.gpus} GPUs"
    return f"This host has {has}; hardware {hardware.sku} needs {wants}."
