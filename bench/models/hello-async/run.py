"""The least a model can do, in asynchronous code, many at once."""

from cog import BaseRunner, Input, concurrent


class Runner(BaseRunner):
    @concurrent(max=64)
    async def run(self, text: str = Input(description="Whom to greet")) -> str:
        return "hello " + text
