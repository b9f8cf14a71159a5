"""Where `emit_metric` was before it was exported by `cog`."""

from __future__ import annotations

from cog.scope import emit_metric

__all__ = ["emit_metric"]
