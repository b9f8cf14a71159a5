"""Which builds of torch a project gets: uv's word for them, and the index that has them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from modelyard.packaging.compatibility import resolution, tables
from modelyard.packaging.compatibility.tables import numbers

# uv's own variable; a mirror inside of a company has torch as it is on the public index, so nothing is done unasked.
VARIABLE: Final = "UV_TORCH_BACKEND"
AUTOMATIC: Final = "auto"
CPU: Final = "cpu"

_FAMILY = re.compile(r"(?:torch|torchvision|torchaudio)\s*(?:$|[\[=<>!~;@ ])", re.IGNORECASE)


def backend(environ: Mapping[str, str], packages: Iterable[str], *, gpu: bool, cuda: str | None) -> str | None:
    """Which builds are wanted (`cpu`, `cu124`); None for those that the index has anyway.

    With `auto` the project decides and not the machine that makes the lock: without `gpu` it is `cpu`, with it the
    newest CUDA that the pinned torch is built for, up to the one that the project has.
    """
    told = environ.get(VARIABLE)
    packages = list(packages)
    if not told or not any(_FAMILY.match(line) for line in packages):
        return None
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


def option(builds: str) -> str:
    """The line of a lock that names the index with these builds."""
    return f"--extra-index-url {tables.torch_index()}{builds}/"
