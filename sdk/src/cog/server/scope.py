"""The prediction that is running, by the names that models of Cog up to 0.16 use."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cog.scope import Scope, current_scope
from cog.scope import use as scope

__all__ = ["Scope", "current_scope", "evolve_scope", "scope"]

_MAY_CHANGE = ("context", "record_metric", "tag")


@contextmanager
def evolve_scope(**changes: Any) -> Iterator[Scope]:
    """The current scope with some of its attributes changed, for a `with` block. Raises TypeError for others."""
    changed = copy.copy(current_scope())
    for name, value in changes.items():
        if name not in _MAY_CHANGE:
            raise TypeError(f"a scope has no {name!r} to change; it has {', '.join(_MAY_CHANGE)}")
        setattr(changed, name, value)
    with scope(changed):
        yield changed
