"""Inputs of projects for older Cogs, in which pydantic read the text of a number, or of true and false, as that."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

# The schema's own list of such inputs, by component: `{"Input": {"seed": "integer"}}`. It is in all schemas of projects
# for an older Cog, though it be empty.
EXTENSION = "x-modelyard-lenient"
_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,400}\s*")
_TRUE, _FALSE = frozenset({"true", "t", "yes", "y", "on", "1"}), frozenset({"false", "f", "no", "n", "off", "0"})


def named(document: Mapping[str, Any], component: str) -> dict[str, str]:
    """Which inputs of a component are read so, and as what."""
    told = document.get(EXTENSION)
    found = told.get(component) if isinstance(told, Mapping) else None
    return {name: kind for name, kind in found.items() if isinstance(kind, str)} if isinstance(found, Mapping) else {}


def read(values: dict[str, Any], kinds: Mapping[str, str]) -> bool:
    """Reads those values in their place, items of lists too; says whether any changed. What it cannot read stays."""
    changed = False
    for name in kinds.keys() & values.keys():
        value = _read(values[name], kinds[name])
        if value is not values[name]:
            values[name], changed = value, True
    return changed


def _read(value: Any, kind: str) -> Any:
    if isinstance(value, list):
        read = [_read(item, kind) for item in value]
        return read if any(new is not old for new, old in zip(read, value)) else value  # noqa: B905
    if kind == "boolean":
        word = str(value).lower() if isinstance(value, (str, int)) else ""
        return True if word in _TRUE else False if word in _FALSE else value
    if not isinstance(value, str):
        return value
    return _number(value, kind)


def _number(text: str, kind: str) -> Any:
    if kind == "integer":
        return int(text) if _WHOLE.fullmatch(text) else text
    try:
        number = float(text)
    except ValueError:
        return text
    return number if kind == "number" and math.isfinite(number) else text
