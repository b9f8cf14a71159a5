"""A stream of tokens at a steady pace, as a language model gives them: do they arrive when they are made?"""

import asyncio

from cog import AsyncConcatenateIterator, BaseRunner, Input, concurrent, streaming


class Runner(BaseRunner):
    @streaming
    @concurrent(max=64)
    async def run(
        self,
        count: int = Input(description="How many tokens", default=100, ge=0),
        interval_seconds: float = Input(description="Time between two tokens", default=0.02, ge=0),
    ) -> AsyncConcatenateIterator[str]:
        for number in range(count):
            await asyncio.sleep(interval_seconds)
            yield f"t{number} "
