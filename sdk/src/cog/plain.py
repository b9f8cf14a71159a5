"""Values that JSON does not have, one step nearer to it: models, arrays, times, types of the author's own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


class NotJsonError(TypeError):
    """A value that JSON does not have; says what, not where."""


def plain(value: Any) -> Any:
    """A JSON value, or something nearer to one, for what JSON does not have; files apart. Raises NotJsonError."""
    kind = type(value)
    coder = _coder(kind)
    if coder is not None:
        return coder.encode(value)
    fields = getattr(kind, "__dataclass_fields__", None)
    if fields is not None:
        return {name: getattr(value, name) for name, field in fields.items() if field._field_type.name == "_FIELD"}
    for method in ("model_dump", "dict"):  # pydantic 2, pydantic 1
        if hasattr(kind, method) and (hasattr(kind, "model_fields") or hasattr(kind, "__fields__")):
            return getattr(value, method)()
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise NotJsonError(f"{kind.__name__} is not JSON; return a Path to a file, or text")
    if hasattr(value, "tolist") and hasattr(value, "dtype"):  # arrays and scalars of numpy and its kin
        return value.tolist()
    return _foreign(value, kind)


def _coder(kind: type) -> Any:
    """What the author registered for this type; nothing can be where the module was never imported."""
    module = sys.modules.get("cog.coder")
    return None if module is None else module.Coder.lookup(kind)


def _foreign(value: Any, kind: type) -> Any:
    module = kind.__module__.partition(".")[0]
    if module in _STANDARD:
        return _STANDARD[module](value)
    if isinstance(value, _enum_class()):
        return value.value
    if hasattr(kind, "__next__"):
        return list(value)
    if hasattr(kind, "keys") and hasattr(kind, "__getitem__"):
        return {key: value[key] for key in value.keys()}  # noqa: SIM118 - a mapping of unknown make
    if module == "PIL":
        raise NotJsonError("a PIL image is not JSON; save it to a file and return its Path")
    raise NotJsonError(f"an object of type {kind.__module__}.{kind.__qualname__} is not JSON")


def _enum_class() -> Any:
    module = sys.modules.get("enum")
    return module.Enum if module is not None else ()


def _standard_time(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value.total_seconds()


def _decimal(value: Any) -> Any:
    return int(value) if value == value.to_integral_value() else float(value)


_STANDARD: dict[str, Callable[[Any], Any]] = {
    "datetime": _standard_time,
    "decimal": _decimal,
    "_pydecimal": _decimal,
    "uuid": str,
    "fractions": float,
    "ipaddress": str,
}
