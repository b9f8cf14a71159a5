# ruff: noqa
# refused: @batch max_size must be a whole number, got 1.5
from cog import batch


@batch(max_size=1.5)
def run(text: list[str]) -> list[str]:
    return text
