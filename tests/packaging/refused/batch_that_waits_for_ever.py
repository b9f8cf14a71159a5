# ruff: noqa
# refused: @batch max_wait_ms must be a number of milliseconds, got inf
import math

from cog import batch


@batch(max_wait_ms=math.inf)
def run(text: list[str]) -> list[str]:
    return text
