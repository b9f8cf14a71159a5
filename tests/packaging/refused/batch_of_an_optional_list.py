# ruff: noqa
# refused: a list with one value for each prediction: list[int], not list[int] | None
from cog import batch


@batch
def run(seed: list[int] | None = None) -> list[int]:
    return seed or []
