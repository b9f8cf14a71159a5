"""`Input()`: what an author says about one input besides its type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FieldInfo:
    """What `Input(...)` returns; stands as the default value of a parameter.

    `default` None means that the schema has no default. `default_given` tells `Input(default=None)`, which may be
    left out of a call, from an `Input()` without one. `choices` are kept in order.
    """

    default: Any = None
    description: str | None = None
    ge: float | None = None
    le: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    regex: str | None = None
    choices: list[str | int | float] | None = None
    deprecated: bool | None = None
    accept: str | None = None
    default_given: bool = True


_NOT_GIVEN: Any = object()


def Input(  # noqa: N802 - authors write it like a type
    default: Any = _NOT_GIVEN,
    *,
    default_factory: Callable[[], Any] | None = None,
    description: str | None = None,
    ge: float | None = None,
    le: float | None = None,
    min_length: int | None = None,
    max_length: int | None = None,
    regex: str | None = None,
    choices: Sequence[str | int | float] | None = None,
    deprecated: bool | None = None,
    accept: str | None = None,
) -> Any:
    """Describe one input of `run()` or `train()`: `steps: int = Input(default=20, ge=1, le=100)`.

    `ge` and `le` bound numbers; `min_length`, `max_length` and `regex` bound strings (and the length of lists);
    `choices` lists the allowed values; `accept` names media types of a Path or File, as `image/*`. Raises TypeError
    for `default_factory`: a default is part of the schema and must be a value.
    """
    if default_factory is not None:
        raise TypeError(
            "default_factory is not supported in Input(). Use a literal default value instead: Input(default=[...])"
        )
    given = default is not _NOT_GIVEN and default is not ...  # what older models write for an input without one
    return FieldInfo(
        default=default if given else None,
        description=description,
        ge=ge,
        le=le,
        min_length=min_length,
        max_length=max_length,
        regex=regex,
        choices=None if choices is None else list(choices),
        deprecated=deprecated,
        accept=accept,
        default_given=given,
    )
