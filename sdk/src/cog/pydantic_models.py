"""When a subclass of `BaseModel` is one of pydantic's, as all were in Cog up to 0.16, and how it becomes one.

pydantic is the model's own: nothing here loads it before a class asks for it. `yard` reads the same from the source
(`modelyard.packaging.brought`), so that the environment has it.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

# Set beside a model whose every `BaseModel` is pydantic's: its `sdk_version` is below 0.17, or its code says so
# outside of its classes.
VARIABLE = "MODELYARD_PYDANTIC"
_PACKAGES = ("pydantic", "annotated_types")
_ANY_TYPE = "arbitrary_types_allowed"


def throughout() -> bool:
    """Whether the project is written for a Cog up to 0.16, all of it."""
    return os.environ.get(VARIABLE) == "1"


def wanted(namespace: Mapping[str, Any], keywords: Mapping[str, Any]) -> bool:
    """Whether the body of a class uses what pydantic alone offers, or the whole project is to have pydantic's."""
    return (
        throughout()
        or "model_config" in namespace
        or isinstance(namespace.get("Config"), type)
        or "__root__" in namespace.get("__annotations__", {})
        or bool(keywords.keys() & {"extra", _ANY_TYPE, "validate_assignment", "from_attributes"})
        or any(map(_is_pydantics, namespace.values()))
        or any(map(_is_pydantics, _parts(namespace)))
    )


def _is_pydantics(value: Any) -> bool:
    """A field, a validator or a type of either version; pydantic 1 marks its validators by attributes."""
    # A model that the author made of pydantic's is a type like any other.
    modules = [getattr(value, "__module__", "")] + ([] if isinstance(value, type) else [type(value).__module__])
    marks = ("__validator_config__", "__root_validator_config__")
    owner = getattr(value, "__func__", value)
    return any(str(module).partition(".")[0] in _PACKAGES for module in modules) or any(
        mark in getattr(holder, "__dict__", {}) for holder in (value, owner) for mark in marks
    )


def _parts(namespace: Mapping[str, Any]) -> Iterator[Any]:
    """Annotations and what stands in their brackets; of those that are text, what their names mean in the module."""
    names = getattr(sys.modules.get(namespace.get("__module__", "")), "__dict__", {})
    hints = list(namespace.get("__annotations__", {}).values())
    while hints:
        hint = hints.pop()
        yield hint
        if isinstance(hint, str):
            hints += [names[word] for word in re.findall(r"\w+", hint) if not isinstance(names.get(word, ""), str)]
            continue
        hints += [*getattr(hint, "__args__", ()), *getattr(hint, "__metadata__", ())]


def make(name: str, bases: tuple[type, ...], namespace: dict[str, Any], keywords: dict[str, Any], own: type) -> Any:
    """The class with pydantic's `BaseModel` in the place of `own`. Raises ImportError, TypeError."""
    try:
        base = importlib.import_module("pydantic").BaseModel
    except ModuleNotFoundError:
        raise ImportError(
            f"{name} uses pydantic, which this environment does not have: add `pydantic` to the project's requirements"
        ) from None
    for other in bases:
        if other is not own and issubclass(other, own) and not issubclass(other, base):
            raise TypeError(
                f"{name} uses pydantic, but its base {other.__name__} is a dataclass:"
                f" derive {other.__name__} from pydantic.BaseModel"
            )
    placed = tuple(dict.fromkeys(base if other is own else other for other in bases))
    options = {key: value for key, value in keywords.items() if key not in ("auto_dataclass", "init")}
    # Cog's `BaseModel` lets every type pass, so what uses pydantic for something else does not lose that. pydantic 1
    # refuses settings both here and in a class `Config`.
    settings = namespace.get("model_config")
    if "Config" not in namespace and not (isinstance(settings, dict) and _ANY_TYPE in settings):
        options.setdefault(_ANY_TYPE, True)
    return type(base)(name, placed, namespace, **options)


def is_pydantic(cls: type) -> bool:
    """Whether a class is one of pydantic's models, of either version."""
    return any(base.__name__ == "BaseModel" and base.__module__.startswith("pydantic.") for base in cls.__mro__)
