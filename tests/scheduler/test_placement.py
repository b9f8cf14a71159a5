"""Where instances go: memory and GPUs are never promised twice, and models take turns."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelyard.engines.base import Limits
from modelyard.scheduler.placement import Allocation, Gpu, Hardware, Inventory, place

GIB = 2**30
ONE_GPU = Inventory(cores=8, memory_bytes=32 * GIB, gpus=(Gpu(uuid="GPU-0", memory_bytes=80 * GIB),))
ON_GPU = Hardware(sku="gpu", name="GPU", memory_bytes=8 * GIB, cpus=2, gpus=1)


def held(name: str, idle: float | None, busy: float = 0.0, gpus: tuple[str, ...] = ("GPU-0",)) -> Allocation:
    return Allocation(
        instance=name, limits=Limits(memory_bytes=8 * GIB, cpus=2, gpus=gpus), idle_seconds=idle, busy_seconds=busy
    )


def test_a_free_gpu_is_given_by_its_identifier() -> None:
    decision = place(ONE_GPU, [], ON_GPU, waited_seconds=0, turn_seconds=5)
    assert decision.limits is not None
    assert decision.limits.gpus == ("GPU-0",)


def test_without_room_the_longest_idle_instance_is_stopped() -> None:
    two = Inventory(cores=8, memory_bytes=32 * GIB, gpus=(Gpu(uuid="a", memory_bytes=1), Gpu(uuid="b", memory_bytes=1)))
    present = [held("young", 3, gpus=("a",)), held("old", 30, gpus=("b",))]
    assert place(two, present, ON_GPU, waited_seconds=0, turn_seconds=5).stop == "old"


def test_a_working_instance_is_left_alone_until_the_newcomer_has_waited_its_turn() -> None:
    present = [held("works", None, busy=60)]
    assert place(ONE_GPU, present, ON_GPU, waited_seconds=1, turn_seconds=5).drain is None
    assert place(ONE_GPU, present, ON_GPU, waited_seconds=6, turn_seconds=5).drain == "works"


def test_what_can_never_fit_is_said_with_both_sizes() -> None:
    decision = place(Inventory(cores=2, memory_bytes=4 * GIB), [], ON_GPU, waited_seconds=0, turn_seconds=5)
    assert decision.never is not None
    assert "0 GPUs" in decision.never
    assert "needs 2 cores, 8.0 GiB and 1 GPUs" in decision.never


@given(
    sizes=st.lists(st.integers(min_value=1, max_value=16), max_size=40),
    gpus=st.integers(min_value=0, max_value=4),
)
def test_memory_and_gpus_are_never_promised_twice(sizes: list[int], gpus: int) -> None:
    inventory = Inventory(
        cores=4, memory_bytes=24 * GIB, gpus=tuple(Gpu(uuid=f"g{n}", memory_bytes=1) for n in range(gpus))
    )
    present: list[Allocation] = []
    for number, size in enumerate(sizes):
        hardware = Hardware(sku="x", name="x", memory_bytes=size * GIB, cpus=0.1, gpus=number % 2)
        decision = place(inventory, present, hardware, waited_seconds=0, turn_seconds=5)
        if decision.limits is not None:
            present.append(Allocation(instance=str(number), limits=decision.limits))
        assert sum(a.limits.memory_bytes for a in present) <= inventory.memory_bytes
        promised = [uuid for a in present for uuid in a.limits.gpus]
        assert len(promised) == len(set(promised))
