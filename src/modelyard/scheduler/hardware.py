"""The kinds of hardware that a host offers, made from what it has; and how to see what it has."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import psutil

from modelyard.scheduler.placement import Gpu, Hardware, Inventory

# Left to the system, the yard and the database.
RESERVED_SHARE = 0.15


def observe() -> Inventory:
    """This host: cores that this process may use, memory (or its cgroup's limit, if lower), NVIDIA GPUs by UUID."""
    memory = min([psutil.virtual_memory().total, *_cgroup_limits()])
    return Inventory(cores=_cores(), memory_bytes=int(memory * (1 - RESERVED_SHARE)), gpus=_gpus())


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cgroup_limits() -> list[int]:
    limits = []
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(file).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return limits


def _gpus() -> tuple[Gpu, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query = [program, "--query-gpu=uuid,memory.total", "--format=csv,noheader,nounits"]
    try:
        shown = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    gpus = []
    for line in shown.splitlines():
        uuid, _, mebibytes = line.partition(",")
        if mebibytes.strip().isdigit():
            gpus.append(Gpu(uuid=uuid.strip(), memory_bytes=int(mebibytes) * 2**20))
    return tuple(gpus)


def catalogue(inventory: Inventory) -> dict[str, Hardware]:
    """What this host offers by sku. `cpu` is for models that ask for nothing, `gpu` for those with `gpu: true`."""
    memory = inventory.memory_bytes
    small = Hardware(sku="cpu-small", name="CPU (small)", memory_bytes=min(2**30, memory // 4), cpus=0.5)
    cpu = Hardware(sku="cpu", name="CPU", memory_bytes=min(4 * 2**30, memory // 4), cpus=1.0)
    large = Hardware(sku="cpu-large", name="CPU (large)", memory_bytes=memory // 2, cpus=min(4.0, inventory.cores))
    offered = [small, cpu, large]
    count = len(inventory.gpus)
    for gpus in (1, 2, 4, 8):
        if gpus <= count:
            sku, name = ("gpu", "GPU") if gpus == 1 else (f"gpu-{gpus}x", f"{gpus}x GPU")
            share = int(memory * 0.9) * gpus // count
            offered.append(
                Hardware(sku=sku, name=name, memory_bytes=share, cpus=inventory.cores * gpus / count, gpus=gpus)
            )
    return {hardware.sku: hardware for hardware in offered}
