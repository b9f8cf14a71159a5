"""A recipe: the plan of what goes into a version, from facts that were read before. Nothing here is built or sent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard import errors
from modelyard.oci import labels
from modelyard.packaging.base import Base
from modelyard.store.environments import Lock

# A file this large becomes a layer of its own, which is sent once and shared by every version that has it.
WEIGHTS_BYTES = 10 * 1024 * 1024

_EMPTY = Lock(text="", python="")
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


class RecipeError(errors.Invalid):
    """The project as it is cannot become a version; the detail says what is missing."""

    code = "recipe_invalid"
    title = "The project cannot be built"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file, link or folder of the project: its `path` below the root with `/`, its size in bytes."""

    path: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A file that lies elsewhere: its absolute path in the image, where it is, its size, and its digest."""

    name: str
    path: Path
    size: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What an image that runs by itself has besides: its base, the files of managed weights, labels that are told.

    `created`: when it is to say that it was made.
    """

    base: Base
    placed: Sequence[Placed] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    created: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the project says about itself. `config` is the JSON that Cog's label holds; `ref` as in `run.py:Runner`."""

    config: Mapping[str, Any]
    schema: Mapping[str, Any]
    lock: Lock
    ref: str | None
    train_ref: str | None = None
    concurrency: int = 1
    environment: Sequence[str] = ()
    standing: Standing | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a builder turns into an image: small files in one layer, large ones in a layer each.

    `standing`: what it has besides where it is to run by itself; `lock`: that of its environment.
    `told`: of the variables in `environment` those that cog.yaml names.
    """

    root: Path
    source: tuple[str, ...]
    weights: tuple[str, ...]
    labels: Mapping[str, str]
    environment: tuple[str, ...]
    architecture: str
    lock: Lock = _EMPTY
    standing: Standing | None = None
    told: tuple[str, ...] = ()


def plan(root: Path, files: Sequence[SourceFile], facts: Facts, *, version: str, machine: str) -> Recipe:
    """The recipe for the project at `root`.

    `files`: what of it belongs in a version; `version`: of the program that builds; `machine`: the processor as the
    system calls it. Raises RecipeError when the model's own file is not among the files.
    """
    present = {file.path for file in files}
    for ref in (facts.ref, facts.train_ref):
        if ref is not None:
            _check_ref(ref, present)
    return Recipe(
        root=root,
        source=tuple(file.path for file in files if file.size < WEIGHTS_BYTES),
        weights=tuple(file.path for file in files if file.size >= WEIGHTS_BYTES),
        labels=_labels(facts, version),
        environment=(*(_variables(facts) if facts.standing else ()), *facts.environment),
        architecture=architecture_of(machine),
        lock=facts.lock,
        standing=facts.standing,
        told=tuple(facts.environment),
    )


def architecture_of(machine: str) -> str:
    """What images call a processor (`amd64`) that the system calls `machine`."""
    return _MACHINES.get(machine.lower(), machine.lower())


def _variables(facts: Facts) -> list[str]:
    """What the server in an image is told by its environment."""
    told = [
        ("COG_PREDICT_TYPE_STUB", facts.ref),
        ("COG_TRAIN_TYPE_STUB", facts.train_ref),
        ("COG_MAX_CONCURRENCY", str(facts.concurrency) if facts.concurrency > 1 else None),
    ]
    return [f"{name}={value}" for name, value in told if value is not None]


def _check_ref(ref: str, present: set[str]) -> None:
    file = ref.partition(":")[0].removeprefix("./")
    if file not in present:
        raise RecipeError(
            f"{file} is not among the files of the version",
            hint=f"Does .dockerignore leave it out? A line `!{file}` at its end takes it back.",
        )


def _labels(facts: Facts, version: str) -> dict[str, str]:
    found = labels.cog(version=version, config=compact(facts.config), schema=compact(facts.schema))
    found[labels.VERSION] = version
    found[labels.LOCK] = facts.lock.text
    found[labels.PYTHON] = facts.lock.python
    found[labels.CONCURRENCY] = str(facts.concurrency)
    if facts.standing is not None:
        found |= facts.standing.labels
    if facts.ref is not None:
        found[labels.REF] = facts.ref
    if facts.train_ref is not None:
        found[labels.TRAIN_REF] = facts.train_ref
    return found


def compact(value: Mapping[str, Any]) -> str:
    """JSON without spaces, keys in the order they have."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
