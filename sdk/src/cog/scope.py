"""The prediction that is running: its context and its metrics, wherever in the model's code one asks."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any

Record = Callable[[str, object, str], None]

MAX_NAME = 128
MAX_SEGMENTS = 4
_MODES = {"replace": "replace", "incr": "increment", "increment": "increment", "append": "append"}
_GOOD_SEGMENT = re.compile(r"[A-Za-z](?:_?[A-Za-z0-9])*\Z")


class Metrics(MutableMapping[str, Any]):
    """The metrics of one prediction by dotted name, as `scope.metrics["tokens.out"] = 12`.

    Reads give what was recorded. Without a `record` nothing is kept and nothing is checked.
    """

    def __init__(self, record: Record | None) -> None:
        self._record = record
        self._values: dict[str, Any] = {}

    def record(self, name: str, value: Any, mode: str = "replace") -> None:
        """Record `value` (bool, int, float, str, list or dict; None deletes) under `name`.

        `mode`: `replace`; `incr` or `increment` adds a number; `append` adds to a list. Raises ValueError for a bad
        name, mode or value, TypeError where the value's type differs from what the metric holds.
        """
        if self._record is None:
            return
        if value is None:
            self.delete(name)
            return
        check_name(name)
        kind = _MODES.get(mode)
        if kind is None:
            raise ValueError(f"metric mode {mode!r} is unknown; it must be one of replace, increment (incr), append")
        plain = _plain(name, value)
        self._values[name] = self._combined(name, plain, kind)
        self._record(name, plain, kind)

    def delete(self, name: str) -> None:
        """Forget a metric; its next value may have any type. One that was never recorded is no error."""
        if self._record is None:
            return
        check_name(name, reserved=False)
        self._values.pop(name, None)
        self._record(name, None, "replace")

    def _combined(self, name: str, value: Any, mode: str) -> Any:
        present = self._values.get(name)
        if present is None:
            self._check_place(name)
        if mode == "append":
            if present is not None and not isinstance(present, list):
                raise TypeError(f"metric {name!r} is a {_kind(present)}; append needs a list")
            return [*(present or []), value]
        if mode == "increment" and _kind(value) != "number":
            raise TypeError(f"metric {name!r} can be incremented by a number only, not by a {_kind(value)}")
        if present is not None and _kind(present) != _kind(value):
            raise TypeError(
                f"metric {name!r} is a {_kind(present)} and cannot become a {_kind(value)}; delete it first"
            )
        return present + value if mode == "increment" and present is not None else value

    def _check_place(self, name: str) -> None:
        """Dots nest, so a name cannot be both a value and the parent of one."""
        for other in self._values:
            if other.startswith(name + ".") or name.startswith(other + "."):
                raise ValueError(f"metric {name!r} cannot be recorded beside metric {other!r}: one contains the other")

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.record(name, value)

    def __delitem__(self, name: str) -> None:
        self.delete(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Scope:
    """One prediction as the model's code sees it; get it with `current_scope()`.

    `context`: strings that came with the request. `record` is called with name, value and mode (`replace`,
    `increment`, `append`; value None deletes) for every metric; None makes a scope that records nothing.
    """

    def __init__(self, context: Mapping[str, str] | None = None, record: Record | None = None) -> None:
        self.context: dict[str, str] = dict(context or {})
        self.metrics = Metrics(record)

    def record_metric(self, name: str, value: Any, mode: str = "replace") -> None:
        """The same as `scope.metrics.record(name, value, mode)`."""
        self.metrics.record(name, value, mode)


_current: ContextVar[Scope] = ContextVar("cog_scope")


def current_scope() -> Scope:
    """The scope of the prediction that this code runs for; outside of one, a scope that records nothing."""
    return _current.get(None) or Scope()


def emit_metric(name: str, value: Any) -> None:
    """The same as `current_scope().record_metric(name, value)`, as older models call it."""
    current_scope().record_metric(name, value)


class use:  # noqa: N801 - reads as a verb: `with scope.use(mine):`
    """Make `scope` the current one for a `with` block, in this context (thread or task) only."""

    __slots__ = ("_scope", "_token")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def __enter__(self) -> Scope:
        self._token = _current.set(self._scope)
        return self._scope

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


def check_name(name: str, *, reserved: bool = True) -> None:
    """Raise ValueError for a name that no metric may have; `reserved`: also refuse the runtime's own names."""
    if not isinstance(name, str) or not name:
        raise ValueError("metric name must not be empty")
    if len(name) > MAX_NAME:
        raise ValueError(f"metric name must be {MAX_NAME} characters or fewer (got {len(name)} characters)")
    if name.startswith("."):
        raise ValueError("metric name must not start with a dot")
    if name.endswith("."):
        raise ValueError("metric name must not end with a dot")
    if ".." in name:
        raise ValueError("metric name must not contain empty segments (consecutive dots)")
    segments = name.split(".")
    if len(segments) > MAX_SEGMENTS:
        raise ValueError(f"metric name must have at most {MAX_SEGMENTS} dot-separated segments (got {len(segments)})")
    for segment in segments:
        if not _GOOD_SEGMENT.match(segment):
            raise ValueError(f"metric name segment {segment!r} {_fault(segment)}")
    if reserved and name == "predict_time":
        raise ValueError("metric name 'predict_time' is reserved by the runtime")
    if reserved and segments[0] == "cog":
        raise ValueError("the 'cog.' prefix is reserved for system metrics")


def _fault(segment: str) -> str:
    strange = re.search(r"[^A-Za-z0-9_]", segment)
    if not re.match(r"[A-Za-z]", segment):
        return "must start with a letter"
    if strange:
        return f"contains invalid character {strange.group()!r}"
    if "__" in segment:
        return "must not contain consecutive underscores"
    return "must end with a letter or digit"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def _plain(name: str, value: Any) -> Any:
    """`value` as JSON can carry it; numbers of array libraries become Python's. Raises ValueError."""
    if isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"metric {name!r} is {value}, which JSON cannot carry")
        return float(value)
    if isinstance(value, (list, tuple)):
        return [None if item is None else _plain(name, item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): None if item is None else _plain(name, item) for key, item in value.items()}
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", None) == 0:
        return _plain(name, item())
    raise ValueError(f"metric {name!r} is a {type(value).__name__}; it must be a bool, int, float, str, list or dict")
