# ruff: noqa
"""A batch: the function takes and returns lists, the schema speaks of one prediction."""

from typing import Literal, Optional, Sequence

import cog
from cog import BaseModel, Input, Path, Secret

SIZE = 4


class Card(BaseModel):
    text: str
    picture: Optional[Path] = None


class Runner:
    @cog.batch(max_size=SIZE * 2, max_wait_ms=2.5)
    def run(
        self,
        prompt: list[str] = Input(description="What to draw", min_length=1, regex="^[a-z]+$"),
        steps: list[int] = Input(default=20, ge=1, le=100),
        style: list[str] = Input(default="oil", choices=["oil", "ink"]),
        size: Sequence[Literal["s", "m"]] = "s",
        seed: "list[int | None]" = None,
        mask: list[Optional[Path]] = Input(default=None, accept="image/*"),
        image: list[Path] = Input(default=None),
        key: list[Secret] = Input(default=None),
        tags: list[list[str]] = Input(default=["a"], max_length=3),
        extra: list[dict] = {},
    ) -> list[Card | Exception]:
        return [Card(text=text) for text in prompt]
