"""The name under which Cog up to 0.16 kept `BasePredictor`."""

from __future__ import annotations

from cog.predictor import BasePredictor

__all__ = ["BasePredictor"]
