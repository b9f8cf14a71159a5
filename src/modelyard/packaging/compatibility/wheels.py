"""Which builds of torch a project gets: uv's word for them, and the index that has them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from modelyard.packaging.compatibility import resolution, tables
from modelyard.packaging.compatibility.tables import numbers

AUTOMATIC: Final = "auto"
CPU: Final = "cpu"

_FAMILY = re.compile(r"^(?:pytorch|torch|triton)[a-z-]*==", re.MULTILINE)


def backend(told: str, packages: Iterable[str], *, gpu: bool, cuda: str | None) -> str:
    """Which builds are wanted (`cpu`, `cu124`) by who says `told`.

    With `auto` the project decides and not the machine that makes the lock: without `gpu` it is `cpu`, with it the
    newest CUDA that the pinned torch is built for, up to the one that the project has.
    """
    if told != AUTOMATIC:
        return told
    if not gpu:
        return CPU
    version = resolution.pinned("torch", packages)
    row = None if version is None else resolution.torch_row(version)
    wanted = cuda or resolution.DEFAULT_CUDA
    built = row.cuda if row is not None else (wanted,)
    fitting = [each for each in built if numbers(each)[:2] <= numbers(wanted)[:2]] or built[:1]
    return "cu{}{}".format(*numbers(fitting[-1])[:2])


def options(builds: str, packages: str) -> list[str]:
    """The line that names the index with these builds, for the lock of `packages` with one of them."""
    return [f"--extra-index-url {tables.torch_index()}{builds}/"] if _FAMILY.search(packages) else []
