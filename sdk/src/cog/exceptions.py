"""The name under which the documentation of Cog shows `CancelationException`."""

from __future__ import annotations

from cog.errors import CancelationException

__all__ = ["CancelationException"]
