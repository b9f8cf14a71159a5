"""What an annotation object means: `Optional[Path]`, `list["Box"]`, a model class."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import inspect
import pathlib
import sys
import types
import typing
from typing import Any, Final

from cog import shapes
from cog.model import BaseModel
from cog.pydantic_models import is_pydantic
from cog.shapes import Member, SchemaError, Type
from cog.types import AsyncConcatenateIterator, ConcatenateIterator, File, Opaque, Secret

Names = dict[str, Any]

_PLAIN: Final[dict[Any, Type]] = {
    str: Type(kind="str"),
    int: Type(kind="int"),
    float: Type(kind="float"),
    bool: Type(kind="bool"),
    dict: Type(kind="dict"),
    list: Type(kind="list"),
    None: shapes.NONE,
    type(None): shapes.NONE,
    Any: shapes.ANY,
    Exception: shapes.ERROR,
    File: Type(kind="file"),
    Secret: Type(kind="secret"),
}
_STREAMS: Final[dict[Any, shapes.Kind]] = {
    collections.abc.Iterator: "iterator",
    collections.abc.AsyncIterator: "iterator",
    collections.abc.Generator: "iterator",
    collections.abc.AsyncGenerator: "iterator",
    ConcatenateIterator: "concatenate",
    AsyncConcatenateIterator: "concatenate",
}
_UNIONS: Final = (typing.Union, types.UnionType)
_LISTS: Final = (list, collections.abc.Sequence)
_CONTAINERS: Final = {tuple: "tuple", set: "set", frozenset: "frozenset", collections.abc.Set: "set"}
_MAPPINGS: Final = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
# Wrappers of a field of a TypedDict: whether the key must be there; None: says nothing about it.
_WRAPPERS: Final = {"Required": True, "NotRequired": False, "ReadOnly": None}


def read(hint: Any, names: Names, within: tuple[type, ...] = ()) -> Type:
    """The type that an annotation names. `names`: globals for annotations that are text; `within`: models around it.

    Raises SchemaError for what has no meaning here.
    """
    hint = _resolve(hint, names)
    try:
        known = _PLAIN.get(hint)
    except TypeError:  # unhashable: a Literal or Annotated of a list
        known = None
    if known is not None:
        return known
    if hasattr(hint, "__metadata__"):
        inner = hint.__origin__
        return _opaque(inner, names) if Opaque in hint.__metadata__ else read(inner, names, within)
    for wrapped in ("__supertype__", "__value__"):  # NewType, `type X = ...`
        if not isinstance(hint, (type, enum.Enum)) and hasattr(hint, wrapped):
            return read(getattr(hint, wrapped), names, within)
    origin = typing.get_origin(hint)
    return _class(hint, within) if origin is None else _generic(hint, origin, names, within)


def _resolve(hint: Any, names: Names) -> Any:
    """An annotation that was written as text, or stands behind a forward reference, as the object that it names."""
    module = getattr(hint, "__forward_module__", None)
    text = hint.__forward_arg__ if isinstance(hint, typing.ForwardRef) else hint
    if not isinstance(text, str):
        return hint
    try:
        found = eval(text, names if module is None else vars(_module(module)))  # noqa: S307 - the author's own annotation
    except Exception as error:  # whatever an annotation may raise, it is the author who must read it
        raise SchemaError(f"cannot resolve type '{text}': {type(error).__name__}: {error}") from None
    return _resolve(found, names)


def _module(module: Any) -> Any:
    return sys.modules[module] if isinstance(module, str) else module


def _generic(hint: Any, origin: Any, names: Names, within: tuple[type, ...]) -> Type:
    arguments = typing.get_args(hint)
    if origin in _UNIONS:
        return shapes.union(read(member, names, within) for member in arguments)
    if origin is typing.Literal:
        return shapes.literal(arguments)
    if origin in _CONTAINERS:
        items = [read(argument, names, within) for argument in arguments if argument is not ...]
        return shapes.contained(_CONTAINERS[origin], items, any_length=len(items) == 1)
    if origin in _LISTS:
        return Type(kind="list", item=read(arguments[0], names, within) if arguments else None)
    if origin in _MAPPINGS:
        return Type(kind="dict", item=read(arguments[1], names, within) if len(arguments) == 2 else None)
    if origin in _STREAMS:
        item = read(arguments[0], names, within) if arguments else None
        return Type(kind=_STREAMS[origin], item=item, name=_name(hint))
    raise _unsupported(hint)


def _class(hint: Any, within: tuple[type, ...]) -> Type:
    if not isinstance(hint, type):
        raise _unsupported(hint)
    if hint in _STREAMS:
        return Type(kind=_STREAMS[hint], name=hint.__name__)
    if hint in _CONTAINERS:
        return Type(kind="list", container=_CONTAINERS[hint])
    if hint in _LISTS:
        return Type(kind="list")
    if hint in _MAPPINGS:
        return Type(kind="dict")
    if issubclass(hint, enum.Enum):
        values = shapes.literal(tuple(member.value for member in hint), f"the enumeration {hint.__name__}")
        return dataclasses.replace(values, name=hint.__name__, enumeration=hint)
    if issubclass(hint, pathlib.PurePath):
        return Type(kind="path")
    if issubclass(hint, dict) and hasattr(hint, "__total__"):
        return Type(kind="typeddict", name=hint.__name__, fields=_typeddict_fields(hint, within))
    if issubclass(hint, BaseModel) or dataclasses.is_dataclass(hint) or is_pydantic(hint):
        return Type(kind="model", name=hint.__name__, fields=_model_fields(hint, within))
    raise _unsupported(hint)


def _opaque(hint: Any, names: Names) -> Type:
    """The container alone counts; what is in it is never looked at."""
    hint = _resolve(hint, names) if isinstance(hint, str) else hint
    origin = typing.get_origin(hint)
    if origin in _UNIONS:
        members = typing.get_args(hint)
        return shapes.opaque(shapes.union(shapes.NONE if m is type(None) else _opaque(m, names) for m in members))
    return shapes.opaque(Type(kind="list") if list in (hint, origin) else shapes.ANY)


def _typeddict_fields(cls: Any, within: tuple[type, ...]) -> tuple[Member, ...]:
    if cls in within:
        return ()
    members = []
    for name, (hint, module) in _hints(cls).items():
        found = _resolve(hint, module)
        required = name in cls.__required_keys__
        while getattr(typing.get_origin(found), "_name", None) in _WRAPPERS:
            said = _WRAPPERS[typing.get_origin(found)._name]
            required = required if said is None else said
            found = _resolve(typing.get_args(found)[0], module)
        members.append(Member(name=name, type=_field(name, found, module, (*within, cls)), required=required))
    return tuple(members)


def _model_fields(cls: Any, within: tuple[type, ...]) -> tuple[Member, ...]:
    if cls in within:
        return ()
    hints = _hints(cls)
    members = []
    for name, required in _required(cls, hints).items():
        hint, module = hints[name]
        members.append(Member(name=name, type=_field(name, hint, module, (*within, cls)), required=required))
    return tuple(members)


def _field(name: str, hint: Any, module: Names, within: tuple[type, ...]) -> Type:
    try:
        return read(hint, module, within)
    except SchemaError as error:
        raise SchemaError(f'field "{name}": {error}') from None


def _hints(cls: Any) -> dict[str, tuple[Any, Names]]:
    """Every annotation of a class and its bases, the bases' first, each with the names of the module that has it."""
    bases = cls.__mro__ if dict not in cls.__mro__ else _typeddict_bases(cls)
    found: dict[str, tuple[Any, Names]] = {}
    for base in reversed(bases):
        module = vars(sys.modules[base.__module__]) if base.__module__ in sys.modules else {}
        found |= {name: (hint, module) for name, hint in inspect.get_annotations(base).items()}
    return found


def _typeddict_bases(cls: Any) -> list[Any]:
    """At run time a TypedDict forgets its bases but for `__orig_bases__`; its own annotations have all of them."""
    bases = [base for base in getattr(cls, "__orig_bases__", ()) if hasattr(base, "__total__")]
    return [cls, *(found for base in bases for found in _typeddict_bases(base))]


def _required(cls: Any, hints: dict[str, tuple[Any, Names]]) -> dict[str, bool]:
    """The fields of a model in order, and whether each must be given."""
    if is_pydantic(cls):
        fields = cls.model_fields if hasattr(cls, "model_fields") else cls.__fields__
        return {
            name: field.is_required() if hasattr(field, "is_required") else bool(field.required)
            for name, field in fields.items()
        }
    if dataclasses.is_dataclass(cls):
        missing = dataclasses.MISSING
        return {f.name: f.default is missing and f.default_factory is missing for f in dataclasses.fields(cls)}
    return {
        name: not hasattr(cls, name)
        for name, (hint, _) in hints.items()
        if "ClassVar" not in str(hint) and not name.startswith("_")
    }


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _unsupported(hint: Any) -> SchemaError:
    return SchemaError(f"unsupported type: {_name(hint)}")
