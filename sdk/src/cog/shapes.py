"""Types and inputs as the schema sees them: records, and the rules that they must keep.

Reflection (`cog.reflection`) and the reader of source text on the host make the same records; what they mean is decided
here, in `cog.patterns` and in `cog.document` alone. These need nothing else of this package, so that the host can hold
them too.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

# Relative on purpose, as in `cog.document`.
from . import patterns

Kind = Literal[
    "str",
    "int",
    "float",
    "bool",
    "path",
    "file",
    "secret",
    "any",
    "dict",
    "typeddict",
    "list",
    "union",
    "model",
    "iterator",
    "concatenate",
    "none",
    "error",
]

SCALARS: Final = frozenset({"str", "int", "float", "bool"})
FILES: Final = frozenset({"path", "file"})
OBJECTS: Final = frozenset({"any", "dict", "typeddict"})
STREAMS: Final = frozenset({"iterator", "concatenate"})


class SchemaError(ValueError):
    """A signature that no schema can be made of; the text says what was found and what is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Type:
    """One type. `item`: of a list, a stream, or the values of a dict; None where the author said nothing about it.

    `members`: of a union, never `none` or a union. `fields`: of a model or TypedDict. `choices`: of a Literal.
    `optional`: None is allowed too. `name`: what the author wrote, for messages. `container`: "tuple", "set" or
    "frozenset" where a list is one of those; only outputs may be. `enumeration`: the class whose members the function
    wants, where the class is at hand.
    """

    kind: Kind
    item: Type | None = None
    members: tuple[Type, ...] = ()
    fields: tuple[Member, ...] = ()
    choices: tuple[Any, ...] = ()
    optional: bool = False
    name: str = ""
    container: str = ""
    enumeration: Any = dataclasses.field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A field of an output model."""

    name: str
    type: Type
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One input. `has_default` is also true for `Input(default=None)`, which the schema does not count as a default."""

    name: str
    type: Type
    has_default: bool = False
    default: Any = None
    description: str | None = None
    ge: float | None = None
    le: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    regex: str | None = None
    choices: tuple[Any, ...] | None = None
    deprecated: bool = False
    accept: str | None = None

    @property
    def is_list(self) -> bool:
        """Whether its value is a list."""
        return self.type.kind == "list"

    @property
    def innermost(self) -> Type:
        """The type of its value, or of the items where it is a list (`any` where nothing is said about them)."""
        item = self.type
        while item.kind == "list":
            item = item.item or ANY
        return item

    @property
    def kind(self) -> Kind:
        """The kind of its innermost type."""
        return self.innermost.kind

    @property
    def optional(self) -> bool:
        """Whether None is a value of it."""
        return self.type.optional or (self.type.kind == "secret" and self.has_default and self.default is None)

    @property
    def required(self) -> bool:
        """Whether the schema demands it: neither optional nor with a default that is not None."""
        return not self.optional and (not self.has_default or self.default is None)

    @property
    def omittable(self) -> bool:
        """Whether a call may leave it out: then `run()` gets `default`, which is None where there is none."""
        return self.has_default or self.optional


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What `@batch` says: how many predictions one call takes, and how long the first of them waits for others."""

    max_size: int
    max_wait_ms: float

    @property
    def slots(self) -> int:
        """How many predictions a worker takes at once: those of the batch that runs, and the next one's."""
        return 2 * self.max_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """The inputs of a function in order, and its output; None where that was not asked for or cannot be told.

    With `batch` the function takes and returns lists; inputs and output are those of one prediction all the same.
    """

    fields: tuple[Field, ...]
    output: Type | None = None
    batch: Batch | None = None

    def __getitem__(self, name: str) -> Field:
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)


ANY: Final = Type(kind="any")
NONE: Final = Type(kind="none")
ERROR: Final = Type(kind="error", name="Exception")


def union(members: Iterable[Type]) -> Type:
    """The union of types: nested ones flattened, `none` turned into `optional`, a single member left alone."""
    kept: list[Type] = []
    optional = False
    for member in members:
        optional = optional or member.optional or member.kind == "none"
        parts = member.members if member.kind == "union" else () if member.kind == "none" else (member,)
        for part in parts:
            bare = dataclasses.replace(part, optional=False) if part.optional else part
            if bare not in kept:
                kept.append(bare)
    if not kept:
        return NONE
    whole = kept[0] if len(kept) == 1 else Type(kind="union", members=tuple(kept))
    return dataclasses.replace(whole, optional=True) if optional else whole


def literal(values: tuple[Any, ...], what: str = "a Literal") -> Type:
    """A Literal or enumeration: a scalar with choices. Raises SchemaError for values of different or other types."""
    given = tuple(value for value in values if value is not None)
    names: set[Kind] = {kind for kind in ("bool", "int", "str") for value in given if type(value).__name__ == kind}
    if len(names) != 1 or not all(isinstance(value, (bool, int, str)) for value in given):
        raise SchemaError(f"unsupported type: the values of {what} must be strings, or ints, or bools")
    return Type(kind=names.pop(), choices=given, optional=len(given) < len(values))


def contained(container: str, items: list[Type], *, any_length: bool) -> Type:
    """A tuple, set or frozenset; the parts of a tuple count where they are all of one type."""
    same = bool(items) and all(item == items[0] for item in items) and (any_length or container == "tuple")
    return Type(kind="list", item=items[0] if same else None, container=container)


def opaque(annotated: Type) -> Type:
    """`Annotated[T, Opaque]`: a list stays a list, everything else is some JSON object."""
    if annotated.kind == "list":
        return Type(kind="list", item=ANY, optional=annotated.optional)
    return dataclasses.replace(ANY, optional=annotated.optional)


def plain(value: Any) -> Any:
    """A default or choice as JSON has it: tuples are lists, paths text, members of enumerations their values.

    Raises SchemaError for what JSON cannot carry.
    """
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return number(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "get_secret_value"):
        return value.get_secret_value()
    raise SchemaError(f"default {value!r} cannot be written as JSON")


def number(value: float) -> float:
    """A whole number without its `.0`, as other languages print it. Raises SchemaError for NaN and infinities."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise SchemaError(f"{value} cannot be written as JSON")
        if value.is_integer() and abs(value) < 2**53:
            return int(value)
    return value


def check_input(field: Field) -> None:
    """Raise SchemaError where this cannot be an input, or contradicts itself."""
    kind = field.type.kind
    if _has_error(field.type):
        raise SchemaError(f"unsupported type: Exception (parameter '{field.name}' must be {_WANTED})")
    if (container := _container(field.type)) is not None:
        raise SchemaError(f"unsupported type: {container} (parameter '{field.name}' must be {_WANTED}; take a list)")
    if kind == "union":
        _check_union(field)
    elif field.kind in STREAMS or field.kind in ("model", "none"):
        found = field.type.name or field.kind
        raise SchemaError(f"unsupported type: {found} (parameter '{field.name}' must be {_WANTED})")
    if field.accept is not None and field.kind not in FILES:
        raise SchemaError(f"accept is only valid on Path or File inputs (parameter '{field.name}')")
    if field.choices is not None and field.kind not in SCALARS:
        raise SchemaError(f"parameter '{field.name}': choices are for str, int, float and bool, not for {field.kind}")
    if field.choices is not None and not field.choices:
        raise SchemaError(f"parameter '{field.name}': choices are empty, so no value is allowed")
    _check_regex(field)
    _check_default(field)


def _check_regex(field: Field) -> None:
    # A pattern that nobody can read would leave every input unchecked.
    try:
        patterns.compiled(field.regex or "")
    except re.error as error:
        said = f"regex {field.regex!r} is no regular expression ({error})"
        raise SchemaError(f"Model schema is invalid: input '{field.name}': {said}") from None


def _container(wanted: Type) -> str | None:
    if wanted.container:
        return wanted.container
    inner = (*wanted.members, *([wanted.item] if wanted.item else []))
    return next((found for part in inner if (found := _container(part)) is not None), None)


def _has_error(wanted: Type) -> bool:
    """Whether it speaks of an Exception: what a `@batch` function may return in place of a result, and nothing else."""
    inner = (*wanted.members, *([wanted.item] if wanted.item else []), *(member.type for member in wanted.fields))
    return wanted.kind == "error" or any(map(_has_error, inner))


_WANTED = (
    "str, int, float, bool, Path, File, Secret, dict, Any, a TypedDict, a Literal or Enum, a list of those, or Optional"
)


def _check_union(field: Field) -> None:
    for member in field.type.members:
        inner = member.item or ANY if member.kind == "list" else member
        if inner.kind == "union":
            raise SchemaError(f"parameter '{field.name}': nested union inputs are not supported")
        if inner.optional:
            raise SchemaError(f"parameter '{field.name}': nested nullable variants are not supported in union inputs")
        if inner.kind not in SCALARS and inner.kind not in OBJECTS:
            name = {"path": "Path", "file": "File", "secret": "Secret"}.get(inner.kind, inner.name or inner.kind)
            raise SchemaError(f"unsupported type: {name} is not supported in union inputs (parameter '{field.name}')")
    bounds = (field.ge, field.le, field.min_length, field.max_length, field.regex, field.choices)
    if any(bound is not None for bound in bounds):
        raise SchemaError(f"parameter '{field.name}': constraints and choices are not supported on union inputs")


def _check_default(field: Field) -> None:
    default = field.default
    if not field.has_default or default is None:
        return
    fault = None if fits(field.type, default) else f"is not of type {describe(field.type)}"
    allowed = field.choices
    items = list(_leaves(default) if field.is_list else (default,))
    if fault is None and allowed is not None and not all(_is_among(item, allowed) for item in items):
        fault = f"is not one of the choices {list(allowed)!r}"
    if fault is None:
        fault = next((found for item in items for found in _out_of_bounds(field, item)), None)
    if fault is None and field.is_list:
        fault = next(_wrong_length(field, len(default), "items"), None)
    if fault is not None:
        raise SchemaError(f"Model schema is invalid: input '{field.name}': default {default!r} {fault}")


def _leaves(value: Any) -> Iterator[Any]:
    """What is in a list, and in the lists in it; null stands for nothing that a bound could be about."""
    for item in value if isinstance(value, list) else ():
        if isinstance(item, list):
            yield from _leaves(item)
        elif item is not None:
            yield item


def _out_of_bounds(field: Field, value: Any) -> Iterator[str]:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if field.ge is not None and value < field.ge:
            yield f"is less than the minimum {field.ge}"
        if field.le is not None and value > field.le:
            yield f"is more than the maximum {field.le}"
    if isinstance(value, str):
        if not field.is_list:
            yield from _wrong_length(field, len(value), "characters")
        pattern = patterns.compiled(field.regex) if field.regex is not None else None
        if pattern is not None and not pattern.search(value):
            yield f"does not match the pattern {field.regex!r}"


def _wrong_length(field: Field, length: int, unit: str) -> Iterator[str]:
    if field.min_length is not None and length < field.min_length:
        yield f"has {length} {unit}, the minimum is {field.min_length}"
    if field.max_length is not None and length > field.max_length:
        yield f"has {length} {unit}, the maximum is {field.max_length}"


def fits(wanted: Type, value: Any) -> bool:
    """Whether a JSON value is one of this type."""
    if value is None:
        return wanted.optional or wanted.kind == "none"
    if wanted.choices and not _is_among(value, wanted.choices):
        return False
    match wanted.kind:
        case "union":
            return any(fits(member, value) for member in wanted.members)
        case "list":
            return isinstance(value, list) and (wanted.item is None or all(fits(wanted.item, item) for item in value))
        case "bool":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case "float":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case "str" | "path" | "file" | "secret":
            return isinstance(value, str)
        case "any" | "dict" | "typeddict":  # the schema says of all three that they are objects
            return isinstance(value, Mapping)
    return True


def _is_among(value: Any, choices: Iterable[Any]) -> bool:
    """As JSON compares: True is not 1."""
    return any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in choices)


def as_former(field: Field) -> Field:
    """The field under the rules of Cog up to 0.16, which were pydantic's: a default of None allows None."""
    if not field.has_default or field.default is not None or field.optional:
        return field
    return dataclasses.replace(field, type=dataclasses.replace(field.type, optional=True))


def check_output(output: Type, *, former: bool = False) -> None:
    """Raise SchemaError where a function cannot return this; `former`: under the rules of Cog up to 0.16."""
    if _has_error(output):
        raise SchemaError("unsupported type: Exception; only the results of a @batch function may be one")
    if output.optional and not former:
        raise SchemaError(
            "unsupported output type: Optional is not allowed as a return type;"
            " name the type alone, the function may still return None"
        )
    inner = output.item if output.kind in STREAMS else None
    if output.kind == "iterator" and inner is None:
        raise SchemaError(f"unsupported type: {output.name or 'an iterator'} must say what it yields, as Iterator[str]")
    if output.kind == "concatenate" and inner is not None and inner.kind != "str":
        raise SchemaError(f"ConcatenateIterator element type must be str, got {describe(inner)}")
    if output.kind not in STREAMS or inner is not None:
        _check_part(inner or output, former)


def _check_part(part: Type, former: bool) -> None:
    if part.kind == "union" and not former:
        raise SchemaError("unsupported type: union types are not supported as output")
    if part.kind in STREAMS:
        raise SchemaError("unsupported type: an iterator can only be the whole output, not a part of it")
    for inner in (*part.members, *([part.item] if part.item is not None else [])):
        _check_part(inner, former)
    for member in part.fields:
        try:
            _check_part(member.type, former)
        except SchemaError as error:
            raise SchemaError(f'field "{member.name}": {error}') from None


def describe(found: Type) -> str:
    """A type in the author's words."""
    known = {"path": "Path", "file": "File", "secret": "Secret", "any": "Any (a JSON object)", "none": "None"}
    match found.kind:
        case "list":
            kind = found.container or "list"
            text = f"{kind}[{describe(found.item)}]" if found.item else kind
        case "union":
            text = " | ".join(map(describe, found.members))
        case kind:
            text = known.get(kind) or (found.name if kind in ("model", "typeddict", "error") and found.name else kind)
    return f"{text} | None" if found.optional else text
