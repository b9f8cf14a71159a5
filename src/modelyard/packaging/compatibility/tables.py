"""The tables, read from the data files beside this module when they are asked for."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from datetime import date

FILES: Final = ("cuda.json", "tensorflow.json", "torch.json")


class Torch(NamedTuple):
    """A release of torch, its companions, the CUDAs that it is built for, and its oldest and newest Python."""

    torch: str
    torchvision: str
    torchaudio: str
    cuda: tuple[str, ...]
    python: tuple[str, str]


class TensorFlow(NamedTuple):
    """A minor of TensorFlow, the CUDA and cuDNN that it is built for, and its oldest and newest Python."""

    tensorflow: str
    cuda: str
    cudnn: str
    python: tuple[str, str]


class Cuda(NamedTuple):
    """A patch of CUDA that there are images of, with the majors of cuDNN in them and the Ubuntus under them."""

    cuda: str
    cudnn: tuple[str, ...]
    ubuntu: tuple[str, ...]


def numbers(version: str) -> tuple[int, ...]:
    """A version for comparing: `12.4.1` is (12, 4, 1). What follows the numbers is left out."""
    found = []
    for part in version.partition("+")[0].split("."):
        if not part.isdecimal():
            break
        found.append(int(part))
    return tuple(found)


@functools.cache
def torch() -> tuple[Torch, ...]:
    """The rows of torch, oldest first."""
    return tuple(Torch(**_tuples(row)) for row in _read("torch.json")["rows"])


def torch_index() -> str:
    """Where the builds of torch for one CUDA each, and for none, are: a folder for each below this address."""
    return str(_read("torch.json")["index"])


@functools.cache
def tensorflow() -> tuple[TensorFlow, ...]:
    """The rows of TensorFlow, oldest first."""
    return tuple(TensorFlow(**_tuples(row)) for row in _read("tensorflow.json")["rows"])


@functools.cache
def cuda() -> tuple[Cuda, ...]:
    """The rows of CUDA, oldest first."""
    return tuple(Cuda(**_tuples(row)) for row in _read("cuda.json")["rows"])


def made() -> date:
    """The day that the oldest of the tables describes."""
    from datetime import date  # late: only `yard doctor` asks

    return min(date.fromisoformat(_read(name)["date"]) for name in FILES)


def cudnn_of(wanted: str) -> tuple[str, ...]:
    """The majors of cuDNN for a CUDA (`12.4`): those of its minor, else those of the newest one before it."""
    minor = numbers(wanted)[:2]
    known = [row for row in cuda() if numbers(row.cuda)[:2] <= minor]
    return known[-1].cudnn if known else cuda()[0].cudnn


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(__file__).parent / name).read_bytes())
    return found


def _tuples(row: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
