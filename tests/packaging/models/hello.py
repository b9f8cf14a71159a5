# ruff: noqa
from cog import BaseRunner, Input


class Runner(BaseRunner):
    def run(self, text: str = Input(description="Text to prefix with 'hello '")) -> str:
        return "hello " + text
