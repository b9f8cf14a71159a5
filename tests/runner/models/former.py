"""Models as they were written for older Cogs."""

import io
from collections.abc import Iterator
from typing import Any, Optional

from cog import BaseModel, BasePredictor, File, Input, Path
from cog.coder import Coder
from cog.types import Weights


class Predictor(BasePredictor):
    def setup(self, weights: Optional[Weights] = None) -> None:  # noqa: UP045
        self.weights = weights

    def predict(self, text: str = Input(default=None), seed: int = Input(default=None), steps: int = 3) -> str:
        return f"{text} {seed} {steps} {self.weights}"


class OpensWeights:
    def setup(self, weights: File) -> None:
        self.text = weights.read().decode()
        self.kind = type(weights).__name__

    def predict(self) -> str:
        return f"{self.kind} {self.text}"


class PlainPathWeights:
    def setup(self, weights: "Path | None") -> None:
        self.weights = weights

    def predict(self) -> str:
        return f"{type(self.weights).__name__} {self.weights}"


def file(kind: str = "text") -> File:
    return io.StringIO("text") if kind == "text" else io.BytesIO(b"bytes")  # type: ignore[return-value]


class Point:
    def __init__(self, x: int) -> None:
        self.x = x


class PointCoder(Coder):
    @staticmethod
    def factory(wanted: type) -> "Coder | None":
        return PointCoder() if wanted is Point else None

    def encode(self, value: Any) -> "dict[str, Any]":
        if value.x < 0:
            raise ValueError("a point left of the origin")
        return {"x": value.x, "seen": True}

    def decode(self, value: "dict[str, Any]") -> Any:
        return Point(value["x"])


Coder.register(PointCoder)


class Line(BaseModel):
    ends: list
    name: Optional[str]  # noqa: UP045


def line(x: int = 1) -> Any:
    return Line(ends=[Point(x), {"deep": Point(x + 1)}])


def points(count: int = 2) -> Iterator[Any]:
    for x in range(count):
        yield Point(x)
