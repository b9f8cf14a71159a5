"""A stream of tokens as fast as it goes, from asynchronous code, many at once."""

from cog import AsyncConcatenateIterator, BaseRunner, Input, concurrent, streaming


class Runner(BaseRunner):
    @streaming
    @concurrent(max=64)
    async def run(
        self, count: int = Input(description="How many tokens", default=1000, ge=0)
    ) -> AsyncConcatenateIterator[str]:
        for number in range(count):
            yield f"t{number} "
