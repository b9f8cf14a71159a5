# ruff: noqa
from __future__ import annotations

import typing as t
from typing import Optional

import cog
from cog import Input


class Item(cog.BaseModel):
    name: str
    inner: Optional[Item]
    tags: list[str] | None = None


class Predictor(cog.BasePredictor):
    def predict(
        self,
        a: Optional[str],
        b: int | None = Input(default=None, ge=1),
        c: t.List["float"] = cog.Input(default=[1.0, 2.5]),
        d: "str" = "x",
        e: t.Union[int, str, None] = None,
        f: t.Literal["x", "y"] = "x",
        g: Optional[t.Literal[1, 2]] = None,
    ) -> list[Item]: ...
