"""Whether a model is run to predict or to train."""

from __future__ import annotations

from enum import Enum


class Mode(Enum):
    """`str()` of a mode is its value."""

    PREDICT = "predict"
    TRAIN = "train"

    def __str__(self) -> str:
        return self.value
