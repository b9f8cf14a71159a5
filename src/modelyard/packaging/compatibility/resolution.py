"""What a project with a GPU gets where its cog.yaml leaves it open, and what cannot go together: by the tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from modelyard.packaging.compatibility import tables
from modelyard.packaging.compatibility.tables import numbers

# Where nothing that is required says more.
DEFAULT_CUDA: Final = "11.8"

_PINNED = re.compile(r"([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*===?\s*([0-9][^\s;,]*)")


class IncompatibleError(Exception):
    """Two things that cannot go together: `key` of cog.yaml to change, the reason, and a next step."""

    def __init__(self, key: str, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.key = key
        self.reason = reason
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The CUDA and the cuDNN to use, and sentences about what may not work."""

    cuda: str
    cudnn: str
    warnings: tuple[str, ...] = ()


def choose(packages: Iterable[str], *, python: str, cuda: str | None = None, cudnn: str | None = None) -> Choice:
    """The CUDA and cuDNN of a project that wants a GPU, has these requirements, and asks for `cuda` and `cudnn`.

    TensorFlow decides where it is required, then torch. Raises IncompatibleError.
    """
    packages = list(packages)
    tensorflow, torch = pinned("tensorflow", packages), pinned("torch", packages)
    if torch is None and any(re.fullmatch(r"torch\s*(\[[^\]]*\])?\s*(;.*)?", line) for line in packages):
        hint = f"name the version, such as torch=={tables.torch()[-1].torch}, or take `gpu: true` out"
        raise IncompatibleError("build.gpu", "torch version must be specified when using CUDA", hint)
    row = _tensorflow_row(tensorflow)
    if tensorflow is not None and row is not None:
        return _with_tensorflow(tensorflow, row, python=python, cuda=cuda, cudnn=cudnn)
    warnings: list[str] = []
    release = None if torch is None else torch_row(torch)
    if torch is not None and release is not None:
        warnings += _python_warning("torch", torch, release.python, python)
        if cuda is None:
            cuda = release.cuda[-1]
        elif numbers(cuda)[:2] not in [numbers(each)[:2] for each in release.cuda]:
            built = ", ".join(release.cuda)
            warnings.append(f"torch {torch} is not built for CUDA {cuda}, but for {built}; it may not work")
    cuda = cuda or DEFAULT_CUDA
    return Choice(cuda=cuda, cudnn=cudnn or tables.cudnn_of(cuda)[-1], warnings=tuple(warnings))


def torch_row(version: str) -> tables.Torch | None:
    """The row of a release of torch; of one that the table does not know, the newest before it."""
    wanted = numbers(version)
    known = [row for row in tables.torch() if numbers(row.torch) <= wanted]
    return known[-1] if known else None


def pinned(name: str, packages: Iterable[str]) -> str | None:
    """The version that the requirements pin a package to."""
    for line in packages:
        match = _PINNED.match(line)
        if match is not None and match[1].lower() == name:
            return match[2]
    return None


def _tensorflow_row(version: str | None) -> tables.TensorFlow | None:
    if version is None:
        return None
    return next((row for row in tables.tensorflow() if numbers(row.tensorflow) == numbers(version)[:2]), None)


def _with_tensorflow(
    version: str, row: tables.TensorFlow, *, python: str, cuda: str | None, cudnn: str | None
) -> Choice:
    warnings = list(_python_warning("tensorflow", version, row.python, python))
    if cuda is not None and numbers(cuda)[0] != numbers(row.cuda)[0]:
        reason = f"TensorFlow {version} is incompatible with CUDA {cuda}: TensorFlow {version} requires CUDA {row.cuda}"
        raise IncompatibleError("build.cuda", reason, f'write cuda: "{row.cuda}", or leave the key out')
    if cudnn is not None and numbers(cudnn)[:1] != numbers(row.cudnn)[:1]:
        reason = f"the specified cuDNN version {cudnn} is not compatible with tensorflow=={version}."
        raise IncompatibleError("build.cudnn", reason, f'write cudnn: "{_major(row.cudnn)}", or leave the key out')
    if cuda is not None and numbers(cuda)[:2] != numbers(row.cuda)[:2]:
        warnings.append(f"TensorFlow {version} is built for CUDA {row.cuda}; with {cuda} it may not work")
    return Choice(cuda=cuda or row.cuda, cudnn=cudnn or _major(row.cudnn), warnings=tuple(warnings))


def _python_warning(name: str, version: str, pythons: tuple[str, str], python: str) -> Iterator[str]:
    oldest, newest = pythons
    if not numbers(oldest) <= numbers(python) <= numbers(newest):
        span = oldest if oldest == newest else f"{oldest} to {newest}"
        yield f"{name} {version} is made for Python {span}; with {python} there may be no package of it"


def _major(version: str) -> str:
    return version.partition(".")[0]
