"""`BaseModel`: an output with named fields, as a dataclass, or as a model of pydantic's where its author uses that."""

from __future__ import annotations

import dataclasses
import functools
import sys
from abc import ABCMeta
from typing import TYPE_CHECKING, Any, ClassVar, Union, get_args, get_origin

from cog import pydantic_models

if sys.version_info >= (3, 11):
    from typing import dataclass_transform
else:  # a hint for type checkers only

    def dataclass_transform(**_: Any) -> Any:
        return lambda cls: cls


class _Family(ABCMeta):
    """Makes the subclasses of `BaseModel`, and leaves to pydantic those that are its."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **keywords: Any) -> Any:
        if bases and pydantic_models.wanted(namespace, keywords):
            return pydantic_models.make(name, bases, namespace, keywords, BaseModel)
        return super().__new__(cls, name, bases, namespace, **keywords)


@dataclass_transform()
class BaseModel(metaclass=_Family):
    """Subclasses become dataclasses: `class Output(BaseModel): text: str; score: float`.

    One that uses pydantic (`Field`, validators, `Config`) is a model of pydantic's instead.

    A field that may be None and has no default gets the default None. Keywords of the class statement go to
    `dataclasses.dataclass`; `auto_dataclass=False` leaves the class as it is. Values are not checked or converted.
    """

    __auto_dataclass: ClassVar[bool] = True

    @classmethod
    def __subclasshook__(cls, other: type) -> Any:
        return True if cls is BaseModel and pydantic_models.is_pydantic(other) else NotImplemented

    if not TYPE_CHECKING:  # an author's type checker is to go on finding names that are wrong

        def __getattr__(self, name: str) -> Any:
            """What older models call on their outputs; a field of such a name comes first."""
            if name in ("dict", "model_dump"):
                return lambda: dataclasses.asdict(self)
            if name in ("copy", "model_copy"):
                return lambda update=None: dataclasses.replace(self, **(update or {}))
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __init_subclass__(cls, *, auto_dataclass: bool = True, init: bool = True, **keywords: Any) -> None:
        super().__init_subclass__()
        base = cls.__bases__[0]
        if not issubclass(base, BaseModel):
            raise TypeError(f'Primary base class of "{cls.__name__}" must inherit from BaseModel')
        if any(dataclasses.is_dataclass(other) and not issubclass(other, BaseModel) for other in cls.__bases__):
            raise TypeError(f'Cannot mix dataclasses and BaseModel in the bases of "{cls.__name__}"')
        if not auto_dataclass and base is not BaseModel and base.__auto_dataclass:
            raise ValueError(f"{cls.__name__} has auto_dataclass=False, but its base {base.__name__} is a dataclass")
        cls.__auto_dataclass = auto_dataclass
        if auto_dataclass:
            written = "__init__" in cls.__dict__
            dataclasses.dataclass(init=init, **keywords)(cls)
            if init and not written:
                _fill_with_none(cls)


def _fill_with_none(cls: Any) -> None:
    """Let the constructor do without fields that may be None; the order of fields stays the author's."""
    fields = [field for field in dataclasses.fields(cls) if field.init]
    missing = dataclasses.MISSING
    places = {
        field.name: place
        for place, field in enumerate(fields)
        if field.default is missing and field.default_factory is missing and _may_be_none(field.type)
    }
    if not places:
        return
    construct = cls.__init__

    @functools.wraps(construct)
    def __init__(self: Any, *args: Any, **values: Any) -> None:  # noqa: N807
        for name, place in places.items():
            if place >= len(args):
                values.setdefault(name, None)
        construct(self, *args, **values)

    cls.__init__ = __init__


def _may_be_none(hint: Any) -> bool:
    if isinstance(hint, str):
        text = hint.replace(" ", "")
        is_union = text.startswith(("Union[", "typing.Union[")) and "None" in text
        return is_union or text.startswith(("Optional[", "typing.Optional[", "None|")) or text.endswith("|None")
    if get_origin(hint) is Union:
        return type(None) in get_args(hint)
    return type(None) in getattr(hint, "__args__", ()) and type(hint).__name__ == "UnionType"
