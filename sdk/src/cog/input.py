"""The name under which Cog keeps `Input` and `FieldInfo`."""

from __future__ import annotations

from cog.fields import FieldInfo, Input

__all__ = ["FieldInfo", "Input"]
