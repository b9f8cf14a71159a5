"""The least a model can do, in plain code: what is measured is everything around it."""

from cog import BaseRunner, Input


class Runner(BaseRunner):
    def run(self, text: str = Input(description="Whom to greet")) -> str:
        return "hello " + text
