# ruff: noqa
from typing import Iterator
from cog import Path, streaming


class Runner:
    @streaming
    def run(self, prompt: str) -> Iterator[Path]:
        yield prompt
