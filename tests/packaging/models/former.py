"""Inputs as models of older Cogs describe them."""

from cog.base_input import Input
from cog.predictor import BasePredictor
from cog.types import Path


class Predictor(BasePredictor):
    def predict(
        self,
        text: str = Input(...),
        image: Path = Input(default=..., description="what to look at"),  # noqa: B008
        seed: int = Input(default=None, ge=0),
        count: int = None,  # noqa: RUF013 - what older models write
    ) -> str: ...
