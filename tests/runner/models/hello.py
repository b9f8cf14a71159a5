"""The least a model can be: for memory and time."""

from cog import BaseRunner


class Runner(BaseRunner):
    def run(self, text: str) -> str:
        return "hello " + text
