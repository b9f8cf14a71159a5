"""A stream of tokens as fast as it goes, from plain code."""

from cog import BaseRunner, ConcatenateIterator, Input, streaming


class Runner(BaseRunner):
    @streaming
    def run(self, count: int = Input(description="How many tokens", default=1000, ge=0)) -> ConcatenateIterator[str]:
        for number in range(count):
            yield f"t{number} "
