# ruff: noqa
# refused: @batch max_size must be from 1 to 10000, got 0
from cog import batch


@batch(max_size=0)
def run(text: list[str]) -> list[str]:
    return text
