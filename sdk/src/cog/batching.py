"""`@batch`: from a function of lists to the API of one prediction.

The function takes `list[T]` and returns `list[R]`; the schema speaks of `T` and `R`. Both readers of a signature come
here, so that they refuse the same with the same words.
"""

from __future__ import annotations

import math
from typing import Any, Final

# Relative on purpose: the host has this very file under a name of its own, beside the same `shapes`.
from . import shapes
from .shapes import Batch, SchemaError, Signature, Type

DEFAULT_SIZE: Final = 8
DEFAULT_WAIT_MS: Final = 10
# More than any machine takes at once; what counts places is a number of 32 bits.
MAX_SIZE: Final = 10_000

BESIDE_CONCURRENT: Final = (
    "@batch and @concurrent exclude each other: one batch runs at a time, and max_size says how many predictions it has"
)
BESIDE_STREAMING: Final = (
    "@batch and @streaming exclude each other: a batch returns all its results at once, one for each prediction"
)
ON_TRAIN: Final = "@batch is for run() or predict(): trainings run one at a time"
NO_INPUTS: Final = (
    "a @batch function needs at least one input: it learns from the length of its lists how many predictions there are"
)


def make(max_size: Any, max_wait_ms: Any) -> Batch:
    """What `@batch(max_size=…, max_wait_ms=…)` says. Raises SchemaError."""
    if isinstance(max_size, bool) or not isinstance(max_size, int):
        raise SchemaError(f"@batch max_size must be a whole number, got {max_size!r}")
    if not 1 <= max_size <= MAX_SIZE:
        raise SchemaError(f"@batch max_size must be from 1 to {MAX_SIZE}, got {max_size}")
    if isinstance(max_wait_ms, bool) or not isinstance(max_wait_ms, (int, float)) or not math.isfinite(max_wait_ms):
        raise SchemaError(f"@batch max_wait_ms must be a number of milliseconds, got {max_wait_ms!r}")
    if max_wait_ms < 0:
        raise SchemaError(f"@batch max_wait_ms must not be negative, got {max_wait_ms}")
    return Batch(max_size=max_size, max_wait_ms=shapes.number(max_wait_ms))


def input_of(found: Type) -> Type:
    """The type of one prediction's value, from that of a parameter. Raises SchemaError where this is no `list[T]`."""
    if not _is_list(found):
        raise SchemaError(
            f"a @batch function takes a list with one value for each prediction: {_wanted(found, 'T')},"
            f" not {shapes.describe(found)}"
        )
    return found.item or shapes.ANY


def output_of(found: Type | None) -> Type:
    """The type of one prediction's result, from what the function returns. Raises SchemaError where this is no list.

    `list[R | Exception]` says that some of the results may be errors; the schema speaks of R.
    """
    if found is None:
        raise SchemaError("a @batch function must say what it returns: list[R], one result for each prediction")
    if not _is_list(found):
        stream = " (it cannot stream)" if found.kind in shapes.STREAMS else ""
        named = found.name if stream else shapes.describe(found)
        wanted = "list[R]" if stream else _wanted(found, "R")
        raise SchemaError(
            f"a @batch function returns a list with one result for each prediction{stream}: {wanted}, not {named}"
        )
    item = found.item or shapes.ANY
    if item.kind != "union":
        return item
    kept = [member for member in item.members if member.kind != "error"]
    return shapes.union([*kept, shapes.NONE] if item.optional else kept)


def check(signature: Signature) -> None:
    """Raise SchemaError for a function without inputs."""
    if signature.batch is not None and not signature.fields:
        raise SchemaError(NO_INPUTS)


def _is_list(found: Type) -> bool:
    return found.kind == "list" and not found.container and not found.optional and found.item is not None


def _wanted(found: Type, letter: str) -> str:
    """What should stand there, in the author's own words where these can be told."""
    if found.kind == "list":
        return f"list[{shapes.describe(found.item) if found.item else letter}]"
    return f"list[{shapes.describe(found)}]"
