"""The version of Modelyard that this package belongs to."""

from __future__ import annotations

__version__ = "0.1.0"
