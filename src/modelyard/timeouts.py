"""How long a model lets itself take: what two variables in the `environment` of its cog.yaml say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# Cog's own word for its server, and ours beside it.
SETUP: Final = "COG_SETUP_TIMEOUT"
RUN: Final = "MODELYARD_RUN_TIMEOUT"
WANTED: Final = "seconds, such as 90 or 1.5, or 0 for no limit"

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds; None: the model says nothing."""

    setup_seconds: float | None = None
    run_seconds: float | None = None

    def setup_within(self, most: float) -> float:
        """How long setup may take where somebody else gives it `most` seconds: the smaller of the two."""
        return most if self.setup_seconds is None else min(most, self.setup_seconds)


def is_seconds(text: str) -> bool:
    """Could `text` be the value of one of the two?"""
    return _SECONDS.fullmatch(text) is not None


def read(variables: Mapping[str, str]) -> Timeouts:
    """What a model's variables say. 0, and what is no number of seconds, is no limit."""
    return Timeouts(setup_seconds=_limit(variables.get(SETUP)), run_seconds=_limit(variables.get(RUN)))


def _limit(text: str | None) -> float | None:
    return float(text) or None if text is not None and is_seconds(text) else None


def run_error(seconds: float) -> str:
    """What a prediction that took longer than its limit ends with."""
    return f"Prediction timed out after {seconds:g} seconds."
