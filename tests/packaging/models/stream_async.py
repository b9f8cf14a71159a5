# ruff: noqa
import cog
from cog import AsyncConcatenateIterator, concurrent


class Runner:
    @cog.streaming()
    @concurrent(max=4)
    async def run(self, prompt: str) -> AsyncConcatenateIterator[str]:
        yield prompt
