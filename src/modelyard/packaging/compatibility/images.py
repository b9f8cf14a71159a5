"""NVIDIA's images with CUDA: which one a project gets, and which Pythons the system under it has."""

from __future__ import annotations

from typing import Final, NamedTuple

from modelyard.packaging.compatibility import tables
from modelyard.packaging.compatibility.tables import numbers

REPOSITORY: Final = "nvidia/cuda"
# What apt brings on each, `universe` included.
_PYTHONS: Final = {"20.04": ("3.8", "3.9"), "22.04": ("3.10", "3.11"), "24.04": ("3.12",)}
# From this CUDA on there is one cuDNN for each image, and its number is no part of the tag.
_UNNUMBERED_FROM: Final = (12, 4)


class CudaImage(NamedTuple):
    """An image of a CUDA with cuDNN, by its tag; `has_python`: does apt bring the wanted Python there?"""

    tag: str
    has_python: bool

    @property
    def name(self) -> str:
        return f"{REPOSITORY}:{self.tag}"


def choose(cuda: str, cudnn: str, python: str, *, compiles: bool) -> CudaImage | None:
    """The image for a CUDA (`12.4`, or a patch of it), a major of cuDNN and a minor of Python; None: there is none.

    It is the newest patch, on the newest Ubuntu that has the Python, else on the newest. `compiles`: with all that it
    takes to compile for a GPU, which is several gigabytes more.
    """
    wanted, major = numbers(cuda), cudnn.partition(".")[0]
    fitting = [row for row in tables.cuda() if numbers(row.cuda)[: len(wanted)] == wanted and major in row.cudnn]
    if not fitting:
        return None
    row = fitting[-1]
    suiting = [ubuntu for ubuntu in row.ubuntu if python in _PYTHONS.get(ubuntu, ())]
    number = "" if numbers(row.cuda)[:2] >= _UNNUMBERED_FROM else major
    ubuntu = (suiting or list(row.ubuntu))[-1]
    kind = "devel" if compiles else "runtime"
    return CudaImage(f"{row.cuda}-cudnn{number}-{kind}-ubuntu{ubuntu}", bool(suiting))
