# ruff: noqa
from cog import ConcatenateIterator, streaming


class Runner:
    @streaming
    def run(self, prompt: str) -> ConcatenateIterator[str]:
        yield prompt
