"""Where `emit_metric` was before it was exported by `cog`."""

from __future__ import annotations

from typing import Any

from cog.scope import current_scope

__all__ = ["emit_metric"]


def emit_metric(name: str, value: Any) -> None:
    """The same as `current_scope().record_metric(name, value)`."""
    current_scope().record_metric(name, value)
