# ruff: noqa
# refused: @batch max_wait_ms must not be negative, got -1
from cog import batch

WAIT = -1


@batch(max_wait_ms=WAIT)
def run(text: list[str]) -> list[str]:
    return text
