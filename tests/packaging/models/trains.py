# ruff: noqa
from cog import BaseModel, BaseRunner, Input, Path


class Weights(BaseModel):
    weights: Path


class Runner(BaseRunner):
    def run(self, size: str = Input(choices=["s", "m"])) -> str: ...

    def train(self, data: Path, size: str = Input(choices=["s", "l"], default="l")) -> Weights: ...
