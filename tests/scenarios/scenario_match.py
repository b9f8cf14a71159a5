"""Compares JSON with a pattern of it: exact values, and a few words that stand for any value of a kind."""

from __future__ import annotations

import json
import re
from typing import Any

KINDS: dict[str, tuple[type, ...]] = {
    "<any>": (object,),
    "<string>": (str,),
    "<number>": (int, float),
    "<object>": (dict,),
    "<list>": (list,),
}
_REPEAT = re.compile(r"\$\{(.+?)\*(\d+)\}")
_NAME = re.compile(r"\$([A-Z][A-Z0-9_]*)")


class Mismatch(AssertionError):
    """What was found is not what is expected."""


def fill(text: str, values: dict[str, str]) -> str:
    """`$NAME` replaced by its value, `${x*3}` by xxx. Raises KeyError for a name that is not there."""
    text = _REPEAT.sub(lambda found: found[1] * int(found[2]), text)
    return _NAME.sub(lambda found: values[found[1]], text)


def subset(pattern: Any, value: Any, place: str = "it") -> None:
    """Everything in the pattern is in the value; an object may have more keys, a list has the same items."""
    compare(pattern, value, place, exact=False)


def compare(pattern: Any, value: Any, place: str = "it", *, exact: bool = True) -> None:
    """Raises Mismatch, with the place, where a value is not like the pattern."""
    if isinstance(pattern, str) and pattern in KINDS:
        if not isinstance(value, KINDS[pattern]) or (pattern == "<number>" and isinstance(value, bool)):
            raise Mismatch(f"{place} is {_shown(value)}; wanted: {pattern}")
    elif isinstance(pattern, str) and pattern.startswith("~"):
        if not isinstance(value, str) or not re.fullmatch(pattern[1:], value, re.DOTALL):
            raise Mismatch(f"{place} is {_shown(value)}; wanted: text like {pattern[1:]}")
    elif type(pattern) is not type(value):
        raise Mismatch(f"{place} is {_shown(value)}; wanted: {_shown(pattern)}")
    elif isinstance(pattern, dict):
        _compare_keys(pattern, value, place, exact=exact)
    elif isinstance(pattern, list):
        if len(pattern) != len(value):
            raise Mismatch(f"{place} has {len(value)} items; wanted: {len(pattern)}, in {_shown(value)}")
        for index, (wanted, found) in enumerate(zip(pattern, value, strict=True)):
            compare(wanted, found, f"{place}[{index}]", exact=exact)
    elif pattern != value:
        raise Mismatch(f"{place} is {_shown(value)}; wanted: {_shown(pattern)}")


def _compare_keys(pattern: dict[str, Any], value: dict[str, Any], place: str, *, exact: bool) -> None:
    missing = pattern.keys() - value.keys()
    more = value.keys() - pattern.keys() if exact else set()
    if missing or more:
        said = [f"lacks {name}" for name in sorted(missing)] + [f"has {name}" for name in sorted(more)]
        raise Mismatch(f"{place} {', '.join(said)}: {_shown(value)}")
    for name, wanted in pattern.items():
        compare(wanted, value[name], f"{place}.{name}", exact=exact)


def at(value: Any, path: str) -> Any:
    """What is at a path like `setup.logs` or `detail.0.msg`. Raises Mismatch."""
    for part in path.split("."):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (LookupError, TypeError, ValueError):
            raise Mismatch(f"there is no {path} in {_shown(value)}") from None
    return value


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 800 else f"{text[:400]} … {text[-400:]}"
