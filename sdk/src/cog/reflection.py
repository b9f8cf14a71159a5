"""From a function to its signature and its OpenAPI document, by reflection: the model has been imported already.

The host reads the same from source text; both make the records of `cog.shapes`, and a test holds them together.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

from cog import batching, document, hints, pydantic_models, shapes
from cog.fields import FieldInfo
from cog.shapes import Field, SchemaError, Signature, Type
from cog.version import __version__

_BATCH = "__cog_batch__"

__all__ = ["Field", "SchemaError", "Signature", "Type", "openapi", "output", "signature"]


def signature(function: Callable[..., Any], *, strict: bool = False) -> Signature:
    """The inputs of `function` (a function, or a method bound to its model) in order.

    A worker fills what a call leaves out with `default` (copy it: it may be a list) and finds the values to fetch by
    `kind`. Parameters whose type means nothing here are of kind `any`. `strict`: raise SchemaError for those instead,
    make defaults plain JSON, and tell the output too. What `@batch` marks must have types that mean something in any
    case: they say what is a list of predictions.
    """
    names = _globals(function)
    batch = getattr(function, _BATCH, None)
    fields = tuple(
        _field(function, parameter, names, strict=strict, batched=batch is not None)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is not parameter.VAR_KEYWORD
    )
    output = _output(function, names) if strict or batch is not None else None
    if batch is not None:
        output = batching.output_of(output)
    found = Signature(fields=fields, output=output, batch=batch)
    batching.check(found)
    return found


def output(function: Callable[..., Any]) -> Type | None:
    """What `function` says that it returns, of a batch the result of one prediction.

    None where it says nothing, or nothing that has a meaning here.
    """
    if hasattr(function, _BATCH):
        return signature(function).output
    try:
        return _output(function, _globals(function))
    except (ValueError, TypeError):  # SchemaError is a ValueError
        return None


def openapi(
    run: Callable[..., Any] | None,
    train: Callable[..., Any] | None = None,
    *,
    streaming: bool = False,
    version: str = __version__,
) -> dict[str, Any]:
    """The OpenAPI document of a model that has `run`, `train` or both.

    `streaming`: `@streaming` marks `run`; `version` goes to `info`. Raises SchemaError for what has no schema.
    """
    trains = None if train is None else signature(train, strict=True)
    if trains is not None and trains.batch is not None:
        raise SchemaError(batching.ON_TRAIN)
    return document.render(
        None if run is None else signature(run, strict=True),
        trains,
        streaming=streaming,
        version=version,
        former=pydantic_models.throughout(),
    )


def _globals(function: Callable[..., Any]) -> dict[str, Any]:
    """The names that the text of annotations may use: those of the module that defines the function."""
    inner = inspect.unwrap(function)
    found = getattr(getattr(inner, "__func__", inner), "__globals__", None)
    if found is None:
        found = vars(sys.modules[function.__module__])
    return dict(found)


def _field(
    function: Callable[..., Any], parameter: inspect.Parameter, names: dict[str, Any], *, strict: bool, batched: bool
) -> Field:
    try:
        found = _type(function, parameter, names)
        found = batching.input_of(found) if batched else found
    except SchemaError as error:
        if strict or batched:
            raise SchemaError(f"parameter '{parameter.name}': {error}") from None
        found = shapes.ANY
    given = parameter.default
    if given is parameter.empty:
        return Field(name=parameter.name, type=found)
    if not isinstance(given, FieldInfo):
        given = FieldInfo(default=given)
    return _described(parameter.name, found, given, strict)


def _type(function: Callable[..., Any], parameter: inspect.Parameter, names: dict[str, Any]) -> Type:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
        raise SchemaError("inputs are given by name; a parameter that takes positions cannot be one")
    if parameter.annotation is parameter.empty:
        raise SchemaError(f"parameter '{parameter.name}' on {function.__name__} has no type annotation")
    return hints.read(parameter.annotation, names)


def _described(name: str, found: Type, given: FieldInfo, strict: bool) -> Field:
    default = given.default
    choices = None if given.choices is None else tuple(given.choices)
    if strict:
        try:
            default = shapes.plain(default)
            choices = None if choices is None else tuple(shapes.plain(choice) for choice in choices)
        except SchemaError as error:
            raise SchemaError(f"parameter '{name}': {error}") from None
    made = Field(
        name=name,
        type=found,
        has_default=given.default_given,
        default=default,
        description=given.description,
        ge=given.ge,
        le=given.le,
        min_length=given.min_length,
        max_length=given.max_length,
        regex=given.regex,
        choices=choices,
        deprecated=bool(given.deprecated),
        accept=given.accept,
    )
    return shapes.as_former(made) if pydantic_models.throughout() else made


def _output(function: Callable[..., Any], names: dict[str, Any]) -> Type | None:
    found = inspect.signature(function).return_annotation
    return None if found is inspect.Signature.empty else hints.read(found, names)
