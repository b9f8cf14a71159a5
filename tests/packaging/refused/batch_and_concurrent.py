# ruff: noqa
# refused: @batch and @concurrent exclude each other
from cog import batch, concurrent


class Runner:
    @batch
    @concurrent(max=2)
    async def run(self, text: list[str]) -> list[str]:
        return text
